# SPDX-License-Identifier: Apache-2.0
"""Quarantining what real processes run, and bringing it back."""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from firedamp.response.undo import Selection
from firedamp.settings import Breaker

from .response_corner import compile_c, corner, state_of, wait_for

pytestmark = pytest.mark.live

SLEEPER = """
#include <unistd.h>
int main(void)
{
	for (;;)
		pause();
}
"""

SWAPPER = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
int main(int argc, char **argv)
{
	for (;;)
		renameat2(AT_FDCWD, argv[1], AT_FDCWD, argv[2], RENAME_EXCHANGE);
}
"""

FROM_MEMORY = """
import os, sys
fd = os.memfd_create("kworker")
os.write(fd, open(sys.argv[1], "rb").read())
os.execve(f"/proc/self/fd/{fd}", ["x"], {})
"""


@pytest.fixture
def home():
    """A directory that is neither a temporary place nor a system's."""
    directory = Path(tempfile.mkdtemp(prefix="fd-test-", dir="/var/lib"))
    yield directory
    subprocess.run(["chattr", "-R", "-i", directory], capture_output=True, check=False)
    shutil.rmtree(directory)


@pytest.fixture
def place(home):
    """A corner that keeps its state beside the files."""
    with corner(home, breaker=Breaker(max_kills=1000)) as made:
        yield made


@pytest.fixture
def payload(home):
    """A program of our own."""
    return compile_c(SLEEPER, home / "payload")


@pytest.fixture
def miner(payload):
    """The same, where a trojan would be."""
    path = payload.parent / "x" / "kswapd0"
    path.parent.mkdir()
    shutil.copy(payload, path)
    return path


def running(place, *command, **options):
    """Start a program in the corner, and wait until it runs itself."""
    key = place.start(*command, **options)
    wait_for(lambda: state_of(key.pid) == "S")
    return key


def everything(path):
    """All that a file is, but for its inode, its ctime, and when it was last looked at."""
    status = os.stat(path)
    fields = ("st_mode", "st_uid", "st_gid", "st_size", "st_mtime_ns", "st_nlink")
    return {
        "stat": [getattr(status, name) for name in fields],
        "xattrs": {
            name: base64.b64encode(os.getxattr(path, name)) for name in sorted(os.listxattr(path))
        },
        "flags": subprocess.run(
            ["lsattr", "-d", path], capture_output=True, text=True, check=False
        ).stdout.split(" ")[0],
    }


def tree(directory):
    """Every file and directory of a tree, with all that it is."""
    found = {str(path): everything(path) for path in (directory, *sorted(directory.rglob("*")))}
    for path, facts in found.items():
        if os.path.isfile(path):
            facts["content"] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return found


def of_action(receipts, action):
    """Receipts of one action, as outcome and target."""
    return [(one.outcome, one.target) for one in receipts if one.action == action]


def test_file_goes_and_undo_brings_everything_back(place, miner):
    """
    Owner, mode, times, access list, capabilities, immutable file in an immutable directory:
    the tree is what it was.
    """
    os.chown(miner, 61_234, 61_235)
    os.chmod(miner, 0o4755)
    os.setxattr(miner, "user.note", b"\x00\xff")
    # security.capability, version 2: cap_net_raw, permitted and effective.
    os.setxattr(
        miner, "security.capability", bytes.fromhex("0100000200200000000000000000000000000000")
    )
    os.setxattr(
        miner,
        "system.posix_acl_access",
        bytes.fromhex(
            "02000000 0100 0700 ffffffff 0200 0500 32ef0000 0400 0500 ffffffff"
            "1000 0500 ffffffff 2000 0500 ffffffff".replace(" ", "")
        ),
    )
    target = running(place, miner)
    os.utime(miner, ns=(1_000_000_001, 2_000_000_002))
    os.utime(miner.parent, ns=(3_000_000_003, 4_000_000_004))
    before = tree(miner.parent)
    os.utime(miner, ns=(1_000_000_001, 2_000_000_002))
    os.utime(miner.parent, ns=(3_000_000_003, 4_000_000_004))
    subprocess.run(["chattr", "+i", miner], check=True)
    subprocess.run(["chattr", "+i", miner.parent], check=True)

    receipts = place.respond(target, "freeze", "quarantine", "kill")

    assert of_action(receipts, "quarantine") == [("done", str(miner))]
    assert os.listdir(miner.parent) == []
    assert state_of(target.pid) in {"", "Z"}
    assert "i" in everything(miner.parent)["flags"]

    undone = place.executor.undo(Selection(incident="incident-1"))

    assert [(one.outcome, one.reason) for one in undone if one.action == "quarantine"] == [
        ("undone", "")
    ]
    looked_at = (os.stat(miner).st_atime_ns, os.stat(miner.parent).st_atime_ns)
    assert looked_at == (1_000_000_001, 3_000_000_003)
    assert "i" in everything(miner)["flags"]
    assert "i" in everything(miner.parent)["flags"]
    subprocess.run(["chattr", "-i", miner.parent, miner], check=True)
    assert tree(miner.parent) == before


def test_what_lies_in_the_vault_cannot_be_run(place, miner):
    """
    By nobody, root included.
    """
    target = running(place, miner)
    content = miner.read_bytes()
    place.respond(target, "quarantine", "kill")

    [kept] = (place.directory / "state/vault").iterdir()

    assert kept.read_bytes() == content
    assert kept.name == hashlib.sha256(content).hexdigest()
    with pytest.raises(PermissionError):
        subprocess.run([kept], check=False)


def test_file_goes_across_file_systems(place, payload):
    """
    From memory-backed storage to the disk, and back.
    """
    directory = Path(tempfile.mkdtemp(prefix="fd-test-", dir="/dev/shm"))
    try:
        path = directory / "x"
        shutil.copy(payload, path)
        target = running(place, path)
        os.utime(path, ns=(1_000_000_001, 2_000_000_002))
        before = tree(directory)

        receipts = place.respond(target, "freeze", "quarantine", "kill")
        assert of_action(receipts, "quarantine") == [("done", str(path))]
        assert os.listdir(directory) == []

        place.executor.undo(Selection(incident="incident-1"))
        assert tree(directory) == before
    finally:
        shutil.rmtree(directory)


@pytest.mark.parametrize("how", ["argument", "hash-bang", "relative"])
def test_script_goes_and_python_stays(place, home, how):
    """
    The interpreter is everybody's.
    """
    python = os.path.realpath("/usr/bin/python3")
    before = everything(python)
    script = home / "bot.py"
    script.write_text("#!/usr/bin/python3\nimport time\nwhile True: time.sleep(60)\n")
    script.chmod(0o755)
    command = {
        "argument": ("/usr/bin/python3", "-u", script),
        "hash-bang": (script,),
        "relative": ("/usr/bin/python3", "bot.py"),
    }[how]
    target = running(place, *command, cwd=home)

    receipts = place.respond(target, "freeze", "quarantine", "kill")

    assert of_action(receipts, "quarantine") == [("refused", python), ("done", str(script))]
    assert not script.exists()
    assert {**everything(python), "stat": 0} == {**before, "stat": 0}
    assert os.stat(python).st_mtime_ns == before["stat"][4]
    assert of_action(receipts, "kill")[0][0] == "done"


def test_packaged_program_stays(place):
    """
    It is killed, but it is not the trojan.
    """
    sleep = os.path.realpath("/bin/sleep")
    before = os.stat(sleep)
    target = running(place, "/bin/sleep", "60")

    receipts = place.respond(target, "freeze", "quarantine", "kill")

    [refused] = [one for one in receipts if one.action == "quarantine"]
    assert refused.outcome == "refused"
    assert "package" in refused.reason
    after = os.stat(sleep)
    assert (after.st_ino, after.st_ctime_ns) == (before.st_ino, before.st_ctime_ns)


def test_image_that_was_never_a_file_is_kept(place, payload):
    """
    Its only copy is the one that runs.
    """
    target = place.start(sys.executable, "-I", "-c", FROM_MEMORY, payload)
    wait_for(lambda: "memfd" in os.readlink(f"/proc/{target.pid}/exe"))

    receipts = place.respond(target, "freeze", "capture", "quarantine", "kill")

    [kept] = (place.directory / "state/vault").iterdir()
    assert kept.read_bytes() == payload.read_bytes()
    assert of_action(receipts, "quarantine") == [("done", "/memfd:kworker")]
    [captured] = (place.directory / "state/incidents/incident-1").glob("*/exe")
    assert captured.read_bytes() == payload.read_bytes()


def test_image_that_was_deleted_is_kept_and_its_successor_left_alone(place, miner):
    """
    What lies at the path now is another file.
    """
    content = miner.read_bytes()
    target = running(place, miner)
    miner.unlink()
    miner.write_text("innocent")

    place.respond(target, "freeze", "quarantine", "kill")

    assert miner.read_text() == "innocent"
    [kept] = (place.directory / "state/vault").iterdir()
    assert kept.read_bytes() == content


def test_service_with_mounts_of_its_own_is_no_hiding_place(place, payload, home):
    """
    Its path means something else to us; the file is found where it really is.
    """
    private, public = home / "private-1", home / "tmp"
    private.mkdir()
    public.mkdir()
    shutil.copy(payload, private / "x")
    enter = f"mount --bind {private} {public} && exec {public}/x"
    target = place.start("unshare", "--mount", "sh", "-c", enter)
    wait_for(lambda: os.readlink(f"/proc/{target.pid}/exe").endswith("/x"))

    receipts = place.respond(target, "freeze", "quarantine", "kill")

    assert of_action(receipts, "quarantine") == [("done", str(private / "x"))]
    assert not (private / "x").exists()

    place.executor.undo(Selection(incident="incident-1"))
    assert (private / "x").read_bytes() == payload.read_bytes()


def test_program_that_only_its_own_mounts_show_is_kept(place, payload, home):
    """
    A file system of its own goes when it does, and nothing of ours is touched.
    """
    public = home / "tmp"
    public.mkdir()
    (public / "x").write_text("innocent")
    enter = f"mount -t tmpfs none {public} && cp {payload} {public}/x && exec {public}/x"
    target = place.start("unshare", "--mount", "sh", "-c", enter)
    wait_for(lambda: os.readlink(f"/proc/{target.pid}/exe").endswith("/x"))

    receipts = place.respond(target, "freeze", "quarantine", "kill")

    assert of_action(receipts, "quarantine") == [("done", str(public / "x"))]
    assert (public / "x").read_text() == "innocent"
    [kept] = (place.directory / "state/vault").iterdir()
    assert kept.read_bytes() == payload.read_bytes()


def test_attacker_who_swaps_names_gains_nothing(place, home, payload):
    """
    Whoever exchanges the file for another, as fast as a program can, never gets that taken:
    here a second name of a file that matters, and a link to it.
    """
    swap = compile_c(SWAPPER, home / "swap")
    victim = home / "victim"
    victim.write_text("matters")
    lair = home / "lair"
    lair.mkdir()
    for round_ in range(40):
        shutil.copy(payload, lair / "x")
        target = running(place, lair / "x")
        decoy = lair / "y"
        decoy.symlink_to(victim) if round_ % 2 else os.link(victim, decoy)
        attacker = subprocess.Popen([swap, lair / "x", decoy])

        place.respond(target, "quarantine", "kill")

        attacker.kill()
        attacker.wait()
        left = list(lair.iterdir())
        assert victim.read_text() == "matters"
        assert victim.stat().st_nlink == 1 + (1 - round_ % 2)
        assert len([one for one in left if one.is_symlink()]) == round_ % 2
        assert [one for one in left if one.name.startswith(".")] == []
        for one in left:
            one.unlink()


def test_full_disk_changes_nothing(place, home, payload):
    """
    The file stays where it is, the process is killed all the same, and it is said.
    """
    (place.directory / "state").mkdir(exist_ok=True)
    vault = place.directory / "state/vault"
    vault.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "none", vault], check=True)
    try:
        target = running(place, payload)

        receipts = place.respond(target, "freeze", "quarantine", "kill")

        [failed] = [one for one in receipts if one.action == "quarantine"]
        assert failed.outcome == "failed"
        assert "No space left" in failed.reason
        assert of_action(receipts, "kill")[0][0] == "done"
        assert payload.exists()
        assert os.listdir(vault) == []
    finally:
        subprocess.run(["umount", vault], check=True)


def test_daemon_that_dies_at_any_step_loses_nothing(home, payload):
    """
    Killed before each system call that changes something, it leaves the file either in its
    place or in the vault, and the next start says which; nothing half-made stays behind.
    """
    seen = set()
    for step in range(1, 12):
        lair = home / f"lair-{step}"
        lair.mkdir()
        target = lair / "x"
        shutil.copy(payload, target)
        os.utime(target, ns=(1_000_000_001, 2_000_000_002))
        before = everything(target)
        process = subprocess.Popen([target])
        try:
            died = subprocess.run(
                [sys.executable, "-I", "-c", DIES_AT, str(step), str(process.pid), home / "state"],
                check=False,
                capture_output=True,
            )
            outcome = subprocess.run(
                [sys.executable, "-I", "-c", STARTS_AGAIN, home / "state", target],
                check=True,
                capture_output=True,
                text=True,
            ).stdout.split()
        finally:
            process.kill()
            process.wait()
        left = os.listdir(lair)
        assert left == ["x"], (step, left, died.stderr)
        after = everything(target)
        assert after["stat"][:5] == before["stat"][:5], step
        assert target.read_bytes() == payload.read_bytes()
        assert not list((home / "state/vault").glob("*.part"))
        seen.update(outcome)
        if died.returncode == 0:
            break
    else:
        pytest.fail("the steps have no end")
    assert {"failed", "done"} <= seen


DIES_AT = """
import os, sys
from pathlib import Path
from firedamp.response import assembly
from firedamp.response.base import Receipt
from firedamp.response.keeper import Keeper
from firedamp.response.ledger import Cause
from firedamp.response.members import Members
from firedamp.response.system_host import SystemHost, parse_stat
from firedamp.settings import Settings
step, pid, state = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
settings = Settings(state_directory=state)
host, keeper = SystemHost(), Keeper()
ledger = assembly.open_ledger(settings)
quarantine = assembly.all_actions(settings, host, keeper, None)["quarantine"]
members = Members(host, lambda key: None, keeper)
members.admit(parse_stat(pid, Path(f"/proc/{pid}/stat").read_bytes()).key)
cause = Cause(incident="i", policy="p", process="x")
def counted(name):
    real = getattr(os, name)
    def call(*args, **options):
        global step
        step -= 1
        if step == 0:
            os.kill(os.getpid(), 9)
        return real(*args, **options)
    setattr(os, name, call)
for name in ("fsync", "rename", "mkdir", "unlink", "rmdir"):
    counted(name)
def intend(target, undo):
    intent = Receipt(action="quarantine", outcome="intended", target=target, undo=undo)
    return ledger.intend(cause, intent)
for receipt in quarantine.apply(None, members, intend):
    step -= 1
    if step == 0:
        os.kill(os.getpid(), 9)
    ledger.record(cause, receipt)
"""

STARTS_AGAIN = """
import sys
from firedamp.response import assembly
from firedamp.response.keeper import Keeper
from firedamp.response.recover import recover
from firedamp.response.system_host import SystemHost
from firedamp.response.undo import Selection, undo
from firedamp.settings import Settings
settings = Settings(state_directory=sys.argv[1])
ledger = assembly.open_ledger(settings)
actions = assembly.all_actions(settings, SystemHost(), Keeper(), None)
for receipt in recover(ledger, actions["freeze"], actions["quarantine"]):
    print(receipt.outcome)
assert not list(ledger.open_intents())
assert not ledger.verify()
for entry in list(ledger.in_force("quarantine")):
    if entry.receipt.target == sys.argv[2]:
        print(undo(ledger, actions, Selection(number=entry.id))[0].outcome)
"""
