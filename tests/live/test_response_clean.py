# SPDX-License-Identifier: Apache-2.0
"""Cleaning real files of a tree of our own, while real processes write to them."""

import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from firedamp.context.changes import Change
from firedamp.response.undo import Selection
from firedamp.settings import Breaker

from .response_corner import compile_c, corner, key_of, state_of, wait_for
from .test_response_files import SWAPPER, everything, tree

pytestmark = pytest.mark.live

KEPT = b"17 * * * * root run-parts /etc/cron.hourly\n"
EVIL = "* * * * * root /tmp/.x/d"
ACL = bytes.fromhex(
    "02000000 0100 0600 ffffffff 0200 0400 32ef0000 0400 0400 ffffffff"
    "1000 0400 ffffffff 2000 0000 ffffffff".replace(" ", "")
)
DROPPER = f"""
cd "$1"
echo '{EVIL}' >>etc/crontab
echo 'ssh-ed25519 BBBB evil' >>root/.ssh/authorized_keys
echo '{EVIL}' >etc/cron.d/evil
printf '[Service]\\nExecStart=/tmp/.x/d\\n' >etc/systemd/system/evil.service
ln -s ../evil.service etc/systemd/system/multi-user.target.wants/evil.service
exec sleep 60
"""
APPENDER = """
import os, sys, time
path, hold = sys.argv[1], float(sys.argv[2])
number = 0
while True:
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    time.sleep(hold)
    os.write(fd, b"line %d\\n" % number)
    os.close(fd)
    time.sleep(hold)
    number += 1
    print(number, flush=True)
"""


@pytest.fixture
def home():
    """A directory with a tree in it that stands for a host."""
    directory = Path(tempfile.mkdtemp(prefix="fd-test-", dir="/var/lib"))
    for name in ("etc/cron.d", "root/.ssh", "etc/systemd/system/multi-user.target.wants"):
        (directory / "root" / name).mkdir(parents=True)
    (directory / "root/etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    yield directory
    subprocess.run(["chattr", "-R", "-ia", directory], capture_output=True, check=False)
    shutil.rmtree(directory)


@pytest.fixture
def place(home):
    """A corner that keeps its state beside the files."""
    with corner(home, breaker=Breaker(max_kills=1000)) as made:
        yield made


@pytest.fixture
def table(home):
    """A cron table that others use, too."""
    path = home / "root/etc/crontab"
    path.write_bytes(KEPT)
    return path


def sleeping(place):
    """The actor's process."""
    key = place.start("/bin/sleep", "60")
    wait_for(lambda: state_of(key.pid) == "S")
    return key


def change(key, path, *lines, operation="write"):
    """What the watch tells of it."""
    status = os.lstat(path)
    return Change(
        process=key,
        path=str(path),
        place="",
        operation=operation,
        device=0,
        inode=status.st_ino,
        lines=lines,
        at_ns=0,
    )


def cleaned(receipts):
    """Outcomes and paths of what was cleaned."""
    done = [one for one in receipts if one.action == "clean"]
    return [(one.outcome, one.undo.get("path", one.target)) for one in done]


def test_all_that_a_dropper_left_goes_and_comes_back(place, home, table):
    """
    Access list, extended attributes, owner, mode, times, immutable and append-only flags: the
    tree without it is what it was before, and with it what it was after.
    """
    root = home / "root"
    keys = root / "root/.ssh/authorized_keys"
    keys.write_bytes(b"ssh-ed25519 AAAA admin\n")
    os.chown(keys, 61_234, 61_235)
    os.setxattr(keys, "user.note", b"\x00\xff")
    os.setxattr(keys, "system.posix_acl_access", ACL)
    contents = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    actor = place.start("/bin/sh", "-c", DROPPER, "sh", root)
    unit = root / "etc/systemd/system/evil.service"
    link = unit.parent / "multi-user.target.wants/evil.service"
    wait_for(link.is_symlink)
    wait_for(lambda: Path(f"/proc/{actor.pid}/comm").read_text() == "sleep\n")
    changes = (
        change(actor, table, EVIL),
        change(actor, keys, "ssh-ed25519 BBBB evil"),
        change(actor, root / "etc/cron.d/evil", EVIL, operation="create"),
        change(actor, unit, "[Service]", "ExecStart=/tmp/.x/d", operation="create"),
        change(actor, link, operation="link"),
    )
    after = tree(root)
    inodes = {path: path.stat().st_ino for path in (table, keys)}
    subprocess.run(["chattr", "+i", table, table.parent], check=True)
    subprocess.run(["chattr", "+a", keys], check=True)

    receipts = place.respond(actor, "freeze", "clean", "kill", changes=changes)

    assert [outcome for outcome, _ in cleaned(receipts)] == ["done"] * 5
    assert {one: one.read_bytes() for one in root.rglob("*") if one.is_file()} == contents
    assert not link.is_symlink()
    assert {path: path.stat().st_ino for path in inodes} == inodes
    assert os.getxattr(keys, "system.posix_acl_access") == ACL
    assert "i" in everything(table)["flags"]
    assert "i" in everything(table.parent)["flags"]
    assert "a" in everything(keys)["flags"]

    undone = place.executor.undo(Selection(incident="incident-1"))

    assert {one.reason for one in undone if one.action == "clean"} == {""}
    subprocess.run(["chattr", "-i", table.parent, table], check=True)
    subprocess.run(["chattr", "-a", keys], check=True)
    assert tree(root) == after


def is_cleaned(place, actor, table, evil):
    """On a busy machine a writer may have the file open for longer than we wait: then try again."""
    [receipt] = place.respond(actor, "clean", changes=(change(actor, table, evil),))
    assert receipt.outcome == "done" or "changed" in receipt.reason, receipt
    return receipt.outcome == "done"


@pytest.mark.parametrize("hold", ["0", "0.0005", "0.02"])
def test_nothing_is_lost_that_somebody_appends_meanwhile(place, table, hold):
    """
    Whether a writer opens the file just now, or has it open.
    """
    actor = sleeping(place)
    writer = subprocess.Popen(
        [sys.executable, "-I", "-c", APPENDER, table, hold], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    said: list[int] = []
    reading = threading.Thread(target=lambda: said.extend(map(int, writer.stdout)))
    reading.start()
    try:
        for round_ in itertools.takewhile(
            lambda round_: round_ < 30 or len(said) < 10, itertools.count()
        ):
            evil = f"{EVIL} {round_}"
            with table.open("ab") as file:
                file.write(f"{evil}\n".encode())

            wait_for(lambda evil=evil: is_cleaned(place, actor, table, evil))
    finally:
        writer.kill()
        writer.wait()
        reading.join()
        writer.stdout.close()
    lines = table.read_bytes().removeprefix(KEPT).splitlines(keepends=True)
    assert lines[: len(said)] == [b"line %d\n" % number for number in range(len(said))]
    assert len(lines) <= len(said) + 1


def test_file_that_the_frozen_actor_holds_open_is_cleaned(place, table):
    """
    That would keep the lease away for ever.
    """
    table.write_bytes(KEPT + EVIL.encode() + b"\n")
    actor = place.start("/bin/sh", "-c", 'exec 5>>"$1"; exec sleep 60', "sh", table)
    wait_for(lambda: os.path.lexists(f"/proc/{actor.pid}/fd/5"))

    receipts = place.respond(
        actor, "freeze", "clean", "kill", changes=(change(actor, table, EVIL),)
    )

    assert cleaned(receipts) == [("done", str(table))]
    assert table.read_bytes() == KEPT


@pytest.mark.parametrize("decoy", ["link", "name"])
def test_swapping_names_never_makes_us_touch_another_file(place, home, table, decoy):
    """
    The attacker exchanges the table for a link to something that matters, all the time.
    """
    swap = compile_c(SWAPPER, home / "swap")
    victim = home / "victim"
    matters = KEPT + EVIL.encode() + b"\n"
    victim.write_bytes(matters)
    other = table.with_name("other")
    if decoy == "link":
        other.symlink_to(victim)
    else:
        other.mkdir()
    actor = sleeping(place)
    for _ in range(40):
        table.write_bytes(matters)
        changes = (change(actor, table, EVIL),)
        attacker = subprocess.Popen([swap, table, other])

        place.respond(actor, "clean", changes=changes)

        attacker.kill()
        attacker.wait()
        assert victim.read_bytes() == matters
        if table.is_symlink() or table.is_dir():
            table.rename(home / "aside")
            other.rename(table)
            (home / "aside").rename(other)


def test_scope_holds_for_what_was_written(place, table):
    """
    Somebody outside of it, alive, has done this.
    """
    table.write_bytes(KEPT + EVIL.encode() + b"\n")
    outside = subprocess.Popen(["/bin/sleep", "60"])
    try:
        changes = (change(key_of(outside.pid), table, EVIL),)

        receipts = place.respond(sleeping(place), "clean", changes=changes)
    finally:
        outside.kill()
        outside.wait()

    assert cleaned(receipts) == [("refused", str(table))]
    assert table.read_bytes() == KEPT + EVIL.encode() + b"\n"
