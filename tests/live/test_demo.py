# SPDX-License-Identifier: Apache-2.0
"""The demo, played for real: what it says is what happened, and nothing of it stays behind."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from firedamp.cgroups import cgroup2_mount
from firedamp.demo import pieces

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("bpf_host"), pytest.mark.timeout(180)]

COMMAND = [sys.executable, "-I", "-m", "firedamp.demo"]
NOBODY = 65534


@dataclass(frozen=True)
class Footprint:
    """What a demo could leave on the host, as far as it can be told from others' doings."""

    cgroups: frozenset[str]
    directories: frozenset[str]
    firewall: str
    links: str
    pieces: dict[str, bytes]

    @classmethod
    def now(cls) -> "Footprint":
        """Look at the host."""
        return cls(
            cgroups=frozenset(path.name for path in Path(cgroup2_mount()).glob("firedamp-demo*")),
            directories=frozenset(
                path.name for path in Path(tempfile.gettempdir()).glob("firedamp-demo*")
            ),
            firewall=_say("nft", "list", "tables"),
            links=_say("ip", "-brief", "link"),
            pieces={
                path.name: path.read_bytes() for path in Path(pieces.__path__[0]).glob("*.[ps][yh]")
            },
        )


@pytest.fixture(scope="module")
def before(bpf_host: None) -> Footprint:
    """The host before the first demo."""
    return Footprint.now()


@pytest.fixture(scope="module")
def played(before: Footprint) -> Iterator[subprocess.CompletedProcess[str]]:
    """One whole performance."""
    began = time.monotonic()
    done = subprocess.run(COMMAND, capture_output=True, text=True, timeout=150, check=False)
    print(done.stdout, done.stderr, f"took {time.monotonic() - began:.1f} s")
    return done


def test_everything_promised_comes_true(played):
    """
    The exit status says it, and no line says NO.
    """
    assert played.returncode == 0, played.stdout + played.stderr
    assert not re.search(r"^ *NO ", played.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    "wanted",
    [
        r"dropper\.sh was started",
        r"etc/crontab \(cron\)",
        r"\.ssh/authorized_keys \(ssh_keys\)",
        r"etc/ld\.so\.preload \(preload\)",
        r"\.x/worker, pid \d+, root\) was started",
        r"kept \d+\.\d cores busy",
        r"worker .* logged in to a mining pool at 203\.0\.113\.7:3333 \(stratum-monero\)",
        r"ms freeze pid",
        r"ms block 203\.0\.113\.7",
        r"ms quarantine …/\.x/worker",
        r"ms kill pid",
        r"yes the miner is dead: \d+ ms after the login",
        r"\.x/kswapd0, pid \d+, root\) was started .*disguised \(kernel_thread\)",
        r"Evidence of several kinds shows a mining trojan",
        r"yes the disguised miner, the watchdog and the dropper are dead",
        r"yes nothing came back",
        r"yes a new connection to the pool is refused: Operation not permitted",
        r"yes the miner's files are gone, and kept in the vault sha256 [0-9a-f]{64}",
        r"yes the web application still answers, and /\S+ is untouched",
        r"\$ firedamp undo \S+ .*quarantine …/\.x/worker: undone",
        r"yes the file is back, byte for byte",
        r"yes a connection to the pool is let through: accepted",
    ],
)
def test_it_tells(played, wanted):
    """
    Each step of the attack, each step of the response, each proof.
    """
    story = " ".join(played.stdout.split())

    assert re.search(wanted, story), played.stdout


def test_it_is_short(played):
    """
    It is read in a minute, without colours where nobody sees them.
    """
    assert len(played.stdout.splitlines()) <= 75
    assert max(map(len, played.stdout.splitlines())) <= 120
    assert "\x1b" not in played.stdout


def test_nothing_stays_behind(before, played):
    """
    No cgroup, directory, firewall table, interface or process; our own files are untouched.
    """
    assert Footprint.now() == before
    assert _demo_processes() == set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["A harmless attack", "keeps the processors busy"])
def test_nothing_stays_behind_when_interrupted(before, number, moment):
    """
    Neither before the daemon is ready, nor in the middle of the attack.
    """
    process = subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        for line in process.stdout:
            if moment in line:
                break
        process.send_signal(number)
        _, said = process.communicate(timeout=60)

    assert process.returncode == 1
    assert "Interrupted" in said
    assert Footprint.now() == before
    assert _demo_processes() == set()


def test_it_says_what_it_needs():
    """
    Without root it changes nothing, and tells what to do.
    """
    done = subprocess.run(
        COMMAND, capture_output=True, text=True, user=NOBODY, group=NOBODY, check=False
    )

    assert done.returncode == 2
    assert "sudo make demo" in done.stderr
    assert done.stdout == ""


def _say(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _demo_processes() -> set[str]:
    """Processes of a demo, told by where they are or what they were called with.

    The dead are left out: orphans wait for PID 1 to take note.
    """
    found = set()
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            group = Path(f"/proc/{pid}/cgroup").read_text()
            is_dead = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
        except OSError:
            continue
        if is_dead:
            continue
        if "firedamp-demo" in group or b"firedamp-demo-" in command:
            found.add(command.decode(errors="replace"))
    return found
