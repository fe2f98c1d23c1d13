# SPDX-License-Identifier: Apache-2.0
"""Killing whoever cleans, at each step; what it leaves is finished or rolled back."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from .test_response_files import everything

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]

KEPT = "17 * * * * root run-parts /etc/cron.hourly\n"
EVIL = "* * * * * root /tmp/.x/d"

COMMON = """
import os, sys
from firedamp.context.changes import Change
from firedamp.events.model import ProcessKey
from firedamp.response import assembly
from firedamp.response.base import Receipt
from firedamp.response.keeper import Keeper
from firedamp.response.ledger import Cause
from firedamp.response.recover import recover
from firedamp.response.system_host import SystemHost
from firedamp.response.undo import Selection, undo
from firedamp.settings import Settings, Watch
from firedamp.sources.places import Places
home = sys.argv[1]
settings = Settings(state_directory=home + "/state")
host, keeper = SystemHost(), Keeper()
ledger = assembly.open_ledger(settings)
places = lambda: Places(Watch(roots=(home + "/root",))).place_of
actions = assembly.all_actions(settings, host, keeper, None, places)
"""
DIES_AT = f"""{COMMON}
from types import SimpleNamespace
step = int(sys.argv[2])
cause = Cause(incident="i", policy="p", process="x")
class Members:
    def protects(self, key):
        return ""
def change(name, *lines, operation="write"):
    path = f"{{home}}/root/{{name}}"
    return Change(process=ProcessKey(9, 9), path=path, place="", operation=operation, device=0,
                  inode=os.lstat(path).st_ino, lines=lines, at_ns=0)
changes = (
    change("etc/crontab", "{EVIL}"),
    change("etc/cron.d/evil", "{EVIL}", operation="create"),
    change("etc/rc2.d/S01evil", operation="link"),
)
def counted(name):
    real = getattr(os, name)
    def call(*args, **options):
        global step
        step -= 1
        if step == 0:
            os.kill(os.getpid(), 9)
        return real(*args, **options)
    setattr(os, name, call)
for name in ("fsync", "rename", "mkdir", "unlink", "rmdir", "pwrite", "ftruncate", "utime"):
    counted(name)
def intend(target, undo):
    intent = Receipt(action="clean", outcome="intended", target=target, undo=undo)
    return ledger.intend(cause, intent)
for receipt in actions["clean"].apply(SimpleNamespace(changes=changes), Members(), intend):
    step -= 1
    if step == 0:
        os.kill(os.getpid(), 9)
    ledger.record(cause, receipt)
"""
STARTS_AGAIN = f"""{COMMON}
for receipt in recover(ledger, actions["freeze"], actions["quarantine"], actions["clean"]):
    print(receipt.outcome)
assert not list(ledger.open_intents())
assert not ledger.verify()
for entry in list(ledger.in_force("clean")):
    [undone] = undo(ledger, actions, Selection(number=entry.id))
    assert undone.outcome == "undone", undone
"""


@pytest.fixture
def home():
    """A directory with a tree in it that stands for a host."""
    directory = Path(tempfile.mkdtemp(prefix="fd-test-", dir="/var/lib"))
    yield directory
    subprocess.run(["chattr", "-R", "-i", directory], capture_output=True, check=False)
    shutil.rmtree(directory)


def settle(root):
    """What the actor left: a line in a locked table, a file of its own, and a link."""
    for name in ("cron.d", "rc2.d"):
        (root / "etc" / name).mkdir(parents=True)
    (root / "etc/crontab").write_text(f"{KEPT}{EVIL}\n# end\n")
    (root / "etc/cron.d/evil").write_text(f"{EVIL}\n")
    (root / "etc/rc2.d/S01evil").symlink_to("/etc/init.d/evil")
    os.utime(root / "etc/crontab", ns=(1, 2))
    subprocess.run(["chattr", "+i", root / "etc/crontab"], check=True)


def facts(root):
    """All names of the tree, and all that its files are."""
    paths = sorted(root.rglob("*"))
    files = [path for path in paths if path.is_file() and not path.is_symlink()]
    return paths, {path.name: (everything(path), path.read_bytes()) for path in files}


def test_who_cleans_may_die_at_any_step(home):
    """
    Killed before each system call that changes something: the next start says what is so, and
    undoing what was done brings back every byte, time and lock. Nothing half-made stays behind.
    """
    root, seen = home / "root", set()
    for step in range(1, 80):
        settle(root)
        before = facts(root)
        died = subprocess.run(
            [sys.executable, "-I", "-c", DIES_AT, home, str(step)], check=False, capture_output=True
        )
        again = subprocess.run(
            [sys.executable, "-I", "-c", STARTS_AGAIN, home],
            check=False,
            capture_output=True,
            text=True,
        )
        assert again.returncode == 0, (step, again.stderr, died.stderr)
        assert facts(root) == before, (step, died.stderr)
        seen.update(again.stdout.split())
        subprocess.run(["chattr", "-i", root / "etc/crontab"], check=True)
        shutil.rmtree(root)
        if died.returncode == 0:
            break
    else:
        pytest.fail("the steps have no end")
    assert step > 10
    assert {"failed", "done"} <= seen
