# SPDX-License-Identifier: Apache-2.0
"""The demo, played for real: what it says is what happened, and nothing of it stays behind."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE

import pytest

from firedamp.cgroups import cgroup2_mount
from firedamp.demo import pieces

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("bpf_host"), pytest.mark.timeout(180)]

COMMAND = [sys.executable, "-I", "-m", "firedamp.demo"]
NOBODY = 65534


@dataclass(frozen=True)
class Footprint:
    """What a demo could change on the host outside of its own corner."""

    firewall: str
    links: str
    pieces: dict[str, bytes]

    @classmethod
    def now(cls) -> "Footprint":
        """Look at the host."""
        files = Path(pieces.__path__[0]).glob("*.[ps][yh]")
        return cls(
            firewall=_say("nft", "list", "tables"),
            links=_say("ip", "-brief", "link"),
            pieces={path.name: path.read_bytes() for path in files},
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
        r"ms clean `\* \* \* \* \* root …/dropper\.sh` of …/root/etc/crontab and 2 more",
        r"ms kill pid",
        r"yes the miner is dead: \d+ ms after the login",
        r"\.x/kswapd0, pid \d+, root\) was started .*disguised \(kernel_thread\)",
        r"Evidence of several kinds shows a mining trojan",
        r"yes the disguised miner, the watchdog and the dropper are dead",
        r"yes nothing came back",
        r"yes a new connection to the pool is refused: Operation not permitted",
        r"yes the miner's files are gone, and kept in the vault sha256 [0-9a-f]{64}",
        r"yes the cron line, the key and the preloaded library are out, and the rest is as it was",
        r"yes the web application still answers, and /\S+ is untouched",
        r"\$ firedamp undo \S+ .*quarantine …/\.x/worker: undone",
        r"yes the file is back, byte for byte",
        r"clean `ssh-ed25519 [^`]*` of …/root/root/\.ssh/authorized_keys: undone",
        r"yes so are the lines that were taken out, at their places",
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
    assert len(played.stdout.splitlines()) <= 85
    assert max(map(len, played.stdout.splitlines())) <= 120
    assert "\x1b" not in played.stdout


def test_nothing_stays_behind(before, played):
    """
    No cgroup, directory, firewall table, interface or process; our own files are untouched.
    """
    assert _left_of(_corner_in(played.stdout)) == []
    assert Footprint.now() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["below written as", "keeps the processors busy"])
def test_nothing_stays_behind_when_interrupted(before, number, moment):
    """
    Neither before the daemon is ready, nor in the middle of the attack.
    """
    with subprocess.Popen(COMMAND, stdout=PIPE, stderr=PIPE, text=True) as process:
        told = _read_to(moment, process)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)

    assert process.returncode == 1
    assert "Interrupted" in said
    assert _left_of(_corner_in(told)) == []
    assert Footprint.now() == before


def test_nothing_stays_behind_when_killed(before):
    """
    Not even SIGKILL leaves a process, a group or a file: somebody waits with a mop.
    """
    with subprocess.Popen(COMMAND, stdout=PIPE, text=True) as process:
        corner = _corner_in(_read_to("keeps the processors busy", process))
        process.kill()
    until = time.monotonic() + 30
    while _left_of(corner) and time.monotonic() < until:
        time.sleep(0.2)

    assert _left_of(corner) == []
    assert Footprint.now() == before


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


def _read_to(moment: str, process: subprocess.Popen[str]) -> str:
    told = ""
    while moment not in told and (line := process.stdout.readline()):
        told += line
    return told


def _corner_in(told: str) -> Path:
    """The directory of this demo, which names all that is its own: others may be playing theirs."""
    return Path(re.search(r"(/\S+/firedamp-demo-\w+)", told)[1])


def _left_of(corner: Path) -> list[str]:
    """Its cgroup, directory and processes.

    The dead are left out: orphans wait for PID 1 to take note.
    """
    name = corner.name
    places = (Path(cgroup2_mount()) / name, corner)
    found = [str(place) for place in places if place.exists()]
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            group = Path(f"/proc/{pid}/cgroup").read_text()
            is_dead = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
        except OSError:
            continue
        if not is_dead and (name in group or name.encode() in command):
            found.append(f"{pid} {command!r}")
    return found
