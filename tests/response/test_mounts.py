# SPDX-License-Identifier: Apache-2.0

from firedamp.response.mounts import Mount, names_here, parse

OURS = (
    Mount("8:1", "/", "/"),
    Mount("0:30", "/", "/dev/shm"),
    Mount("0:77", "/", "/var/lib/docker/overlay2/abc/merged"),
)


def test_private_tmp_is_found_where_it_really_is():
    """
    A service's /tmp is a directory of the host's file system.
    """
    private = "/tmp/systemd-private-1-redis.service-2/tmp"
    theirs = (Mount("8:1", "/", "/"), Mount("8:1", private, "/tmp"))

    assert list(names_here("/tmp/x", theirs, OURS)) == [f"{private}/x"]


def test_container_is_found_in_the_overlay_that_the_host_shows():
    """
    The runtime's own mount of the same file system leads to the same files.
    """
    theirs = (Mount("0:77", "/", "/"),)

    assert list(names_here("/tmp/x", theirs, OURS)) == ["/var/lib/docker/overlay2/abc/merged/tmp/x"]


def test_later_mount_at_one_point_lies_on_top():
    """
    What is hidden beneath is not what the process means.
    """
    theirs = (Mount("8:1", "/", "/"), Mount("8:1", "/below", "/m"), Mount("0:30", "/top", "/m"))

    assert list(names_here("/m/x", theirs, OURS)) == ["/dev/shm/top/x"]


def test_file_system_that_we_do_not_mount_has_no_name_here():
    """
    A tmpfs of its own is nobody else's.
    """
    assert list(names_here("/t/x", (Mount("0:99", "/", "/t"),), OURS)) == []


def test_escapes_are_undone_and_short_lines_left_out():
    """
    Mountinfo writes blanks as octal numbers.
    """
    text = "36 35 8:1 /a\\040b /mnt/c\\040d rw - ext4 /dev/sda rw\nnonsense\n"

    assert parse(text) == (Mount("8:1", "/a b", "/mnt/c d"),)
