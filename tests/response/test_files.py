# SPDX-License-Identifier: Apache-2.0

import os
import subprocess

import pytest

from firedamp.errors import ActionError
from firedamp.response import files

PRIVATE = ".firedamp-test"


@pytest.fixture
def target(tmp_path):
    """A file with everything that can be lost on the way."""
    path = tmp_path / "target"
    path.write_bytes(b"payload")
    path.chmod(0o4751)
    os.utime(path, ns=(1_111_111_111, 2_222_222_222))
    return path


@pytest.fixture
def opened(target):
    """Its name and a descriptor of it."""
    place = files.locate(str(target))
    fd = os.open(target, os.O_RDONLY)
    yield place, fd
    os.close(fd)
    place.close()


def restored(place, fd, data, **options):
    """Put it back."""
    return files.put(place, fd, data, PRIVATE, **{"replace": False, **options})


@pytest.mark.parametrize("path", ["relative", "/a/../b", "/a/./b"])
def test_only_plain_absolute_paths_are_walked(path):
    """
    What the kernel reports is never anything else.
    """
    with pytest.raises(OSError, match="plain"):
        files.locate(path)


def test_link_on_the_way_is_not_followed(tmp_path, target):
    """
    A directory that was exchanged for a link does not lead anywhere.
    """
    (tmp_path / "link").symlink_to(tmp_path)

    with pytest.raises(NotADirectoryError):
        files.locate(str(tmp_path / "link" / "target"))


def test_taken_file_is_gone_and_nothing_else(tmp_path, target, opened):
    """
    The directory it passed through is gone as well.
    """
    (tmp_path / "other").write_text("stays")

    files.take_away(*opened, PRIVATE)

    assert os.listdir(tmp_path) == ["other"]


def test_file_that_was_exchanged_is_left_alone(tmp_path, target, opened):
    """
    Someone put another file in its place between the look and the grip.
    """
    target.rename(tmp_path / "moved")
    target.write_text("an innocent file")

    with pytest.raises(ActionError, match="exchanged"):
        files.take_away(*opened, PRIVATE)

    assert target.read_text() == "an innocent file"
    assert sorted(os.listdir(tmp_path)) == ["moved", "target"]


def test_link_put_in_its_place_is_left_alone_with_what_it_leads_to(tmp_path, target, opened):
    """
    The classic race: the name becomes a link to something that matters.
    """
    victim = tmp_path / "victim"
    victim.write_text("matters")
    target.unlink()
    target.symlink_to(victim)

    with pytest.raises(ActionError, match="exchanged"):
        files.take_away(*opened, PRIVATE)

    assert os.readlink(target) == str(victim)
    assert victim.read_text() == "matters"


def test_file_that_cannot_be_removed_stays_where_it_is(tmp_path, target, opened, monkeypatch):
    """
    A step that fails in the middle leaves no half-way directory.
    """

    def refuse(*_args, **_kwargs):
        raise PermissionError(1, "no")

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(PermissionError):
        files.take_away(*opened, PRIVATE)

    assert os.listdir(tmp_path) == ["target"]


def test_restored_file_is_the_same_in_everything(target, opened):
    """
    Content, owner, mode with its set-ID bit, times, extended attributes.
    """
    os.setxattr(target, "user.note", b"\x00\xff")
    place, fd = opened
    os.utime(target, ns=(1_111_111_111, 2_222_222_222))
    before, data = os.fstat(fd), files.metadata(fd)
    files.take_away(place, fd, PRIVATE)

    assert restored(place, fd, data) == []

    after = os.stat(target)
    for field in ("st_mode", "st_uid", "st_gid", "st_size", "st_mtime_ns", "st_atime_ns"):
        assert getattr(after, field) == getattr(before, field), field
    assert os.getxattr(target, "user.note") == b"\x00\xff"
    assert target.read_bytes() == b"payload"


def test_access_control_list_comes_back(target, opened):
    """
    It is an extended attribute whose mask a change of mode would overwrite.
    """
    entries = b"".join(
        tag.to_bytes(2, "little") + mode.to_bytes(2, "little") + uid.to_bytes(4, "little")
        for tag, mode, uid in (
            (0x01, 7, 0xFFFFFFFF), (0x02, 6, 1234), (0x04, 5, 0xFFFFFFFF),
            (0x10, 7, 0xFFFFFFFF), (0x20, 1, 0xFFFFFFFF),
        )
    )  # fmt: skip
    acl = (2).to_bytes(4, "little") + entries
    try:
        os.setxattr(target, "system.posix_acl_access", acl)
    except OSError:
        pytest.skip("needs a file system with access control lists")
    place, fd = opened
    data = files.metadata(fd)
    files.take_away(place, fd, PRIVATE)

    restored(place, fd, data)

    assert os.getxattr(target, "system.posix_acl_access") == acl


def test_nothing_is_overwritten_unless_told(target, opened):
    """
    What came to be there since is somebody's.
    """
    place, fd = opened
    data = files.metadata(fd)
    files.take_away(place, fd, PRIVATE)
    target.write_text("new")

    with pytest.raises(FileExistsError):
        restored(place, fd, data)
    assert target.read_text() == "new"
    assert os.listdir(target.parent) == ["target"]

    restored(place, fd, data, replace=True)
    assert target.read_bytes() == b"payload"


def test_second_attempt_clears_what_the_first_left(target, opened):
    """
    A crash while putting back leaves a private directory behind.
    """
    place, fd = opened
    data = files.metadata(fd)
    files.take_away(place, fd, PRIVATE)
    (target.parent / PRIVATE).mkdir(0o700)
    (target.parent / PRIVATE / "file").write_text("half")

    restored(place, fd, data)

    assert os.listdir(target.parent) == ["target"]


def test_foreign_private_directory_is_not_entered(target, opened):
    """
    Someone who guesses its name gains nothing from making it first.
    """
    place, fd = opened
    data = files.metadata(fd)
    files.take_away(place, fd, PRIVATE)
    (target.parent / PRIVATE).mkdir(0o777)
    (target.parent / PRIVATE).chmod(0o777)

    with pytest.raises(PermissionError):
        restored(place, fd, data)


@pytest.mark.parametrize("moved", [False, True])
def test_crash_in_the_middle_is_finished(target, opened, moved):
    """
    Whether the file had reached the private directory or not, the answer says where it is.
    """
    place, fd = opened
    status = os.fstat(fd)
    private = target.parent / PRIVATE
    private.mkdir(0o700)
    if moved:
        target.rename(private / "file")

    taken = files.finish_taking(place, PRIVATE, status.st_dev, status.st_ino)

    assert taken is moved
    assert target.exists() is not moved
    assert not private.exists()


def chattr(flag, path):
    """Change an inode flag, or skip."""
    done = subprocess.run(["chattr", flag, path], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("needs root and a file system with inode flags")


def work_that_fails(directory):
    """Change the directory, then fail."""
    (directory / "x").write_text("possible")
    raise ZeroDivisionError


def test_immutable_directory_is_opened_for_a_moment(tmp_path):
    """
    And locked again, also when what was to be done inside fails.
    """
    locked = tmp_path / "locked"
    locked.mkdir()
    chattr("+i", locked)
    fd = os.open(locked, os.O_RDONLY)
    try:
        with pytest.raises(ZeroDivisionError), files.unlocked(fd):
            work_that_fails(locked)
        assert os.listdir(locked) == ["x"]
        assert files.inode_flags(fd) & files.IMMUTABLE
    finally:
        chattr("-i", locked)
        os.close(fd)
