# SPDX-License-Identifier: Apache-2.0
"""A corner of the host in which responses are real: a cgroup, a directory, and nothing else."""

import ctypes
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from firedamp.cgroups import cgroup2_mount
from firedamp.context.changes import Change
from firedamp.events.model import Event, ProcessKey
from firedamp.policy.types import ActionName, Alert, Decision, Level, PolicySummary
from firedamp.response.assembly import assemble
from firedamp.response.base import Receipt
from firedamp.response.keeper import Keeper
from firedamp.response.system_host import ProcessStat, parse_stat
from firedamp.settings import Response, Scope, Settings, Watch
from firedamp.sources.places import Places

WAIT_S = 10.0
_CLONE_NEWNET = 0x40000000


class Corner:
    """An executor that enforces in one cgroup, and programs that run there."""

    def __init__(self, directory: Path, **response: object) -> None:
        self.directory = directory
        self.cgroup = Path(tempfile.mkdtemp(prefix="fd-test-", dir=cgroup2_mount()))
        self.keeper = Keeper()
        self.keeper.start()
        self.told: list[Receipt] = []
        self.settings = Settings(
            mode="enforce",
            scope=Scope(cgroups=(f"/{self.cgroup.name}",)),
            response=Response(**response),
            state_directory=str(directory / "state"),
        )
        self.executor = assemble(
            self.settings,
            self.keeper,
            on_receipt=lambda receipt, _: self.told.append(receipt),
            on_breaker=lambda _: None,
            places=lambda: Places(Watch(roots=(str(directory / "root"),))).place_of,
        )
        self._started: list[subprocess.Popen[bytes]] = []
        self._incidents = 0

    def start(self, *command: str | Path, **options: object) -> ProcessKey:
        """Run a program in the cgroup."""
        before = options.pop("preexec_fn", lambda: None)

        def enter() -> None:
            (self.cgroup / "cgroup.procs").write_text("0")
            before()

        process = subprocess.Popen(command, preexec_fn=enter, **options)  # noqa: PLW1509
        self._started.append(process)
        return key_of(process.pid)

    def members(self) -> list[int]:
        """Who lives in the cgroup; zombies do not."""
        pids = map(int, (self.cgroup / "cgroup.procs").read_text().split())
        return [pid for pid in pids if (stat := stat_of(pid)) is not None and stat.state != "Z"]

    def respond(
        self,
        target: ProcessKey,
        *actions: ActionName,
        addresses: tuple[str, ...] = (),
        related: tuple[ProcessKey, ...] = (),
        changes: tuple[Change, ...] = (),
    ) -> tuple[Receipt, ...]:
        """Carry out a decision about a process."""
        self._incidents += 1
        policy = PolicySummary(
            id="p", title="t", level=Level.CRITICAL, status="stable", tags=(), response=actions
        )
        alert = Alert(
            at_ns=0,
            policy=policy,
            category="test",
            event=Event(at_ns=0, process=target),
            process=target,
            actor=target,
            incident=f"incident-{self._incidents}",
            fields=(),
        )
        return self.executor.execute(
            Decision(
                alert=alert,
                actions=actions,
                mode="enforce",
                target=target,
                related=related,
                addresses=tuple((address, 4444) for address in addresses),
                files=(),
                reason="test",
                changes=changes,
            )
        )

    def close(self) -> None:
        """Leave nothing behind."""
        self.executor.stop()
        with suppress(OSError):
            (self.cgroup / "cgroup.kill").write_text("1")
        for process in self._started:
            process.kill()
            process.wait()
        wait_for(lambda: not (self.cgroup / "cgroup.procs").read_text())
        self.cgroup.rmdir()


def missing_for_corner() -> str:
    """What this host lacks for real responses; empty where it lacks nothing."""
    if os.geteuid() != 0:
        return "needs root"
    root = cgroup2_mount()
    if not root:
        return "needs cgroup v2, mounted"
    if not os.access(root, os.W_OK):
        return f"needs {root} to be writable"
    return ""


@contextmanager
def corner(directory: Path, **response: object) -> Iterator[Corner]:
    """A corner for a test, or a skip that says what is missing."""
    if missing := missing_for_corner():
        pytest.skip(missing)
    made = Corner(directory, **response)
    try:
        yield made
    finally:
        made.close()


def stat_of(pid: int) -> ProcessStat | None:
    """What /proc shows of a process; None if it is gone."""
    try:
        return parse_stat(pid, Path(f"/proc/{pid}/stat").read_bytes())
    except OSError:
        return None


def key_of(pid: int) -> ProcessKey:
    """Name a process that lives."""
    stat = stat_of(pid)
    assert stat is not None
    return stat.key


def state_of(pid: int) -> str:
    """The letter that /proc shows; empty if it is gone."""
    stat = stat_of(pid)
    return stat.state if stat is not None else ""


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until it is so, or fail."""
    until = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)


def compile_c(source: str, target: Path) -> Path:
    """Build a tiny program, or skip."""
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    subprocess.run(["cc", "-O1", "-x", "c", "-", "-o", target], input=source.encode(), check=True)
    return target


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Let this thread see the network of a namespace that `ip netns` made."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        assert libc.setns(there, _CLONE_NEWNET) == 0
        yield
    finally:
        assert libc.setns(before, _CLONE_NEWNET) == 0
        os.close(before)
        os.close(there)
