# SPDX-License-Identifier: Apache-2.0
"""A host that only pretends: what was asked of it reads as a list."""

import os
import signal
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import pytest

from firedamp.context.changes import Change
from firedamp.errors import ActionError, Refused
from firedamp.events.model import Event, ProcessKey
from firedamp.policy.types import ActionName, Alert, Decision, Evidence, Level, PolicySummary
from firedamp.response.base import Intend
from firedamp.response.clean import Clean
from firedamp.response.clean_units import Systemd
from firedamp.response.host import Image, ProcessStat, Standing
from firedamp.response.ledger import Ledger
from firedamp.response.members import Members
from firedamp.response.packages import Packages
from firedamp.response.quarantine import Quarantine
from firedamp.response.vault import Vault


@dataclass(kw_only=True)
class Fake:
    """One pretended process."""

    stat: ProcessStat
    image: Image
    argv: tuple[str, ...] = ()
    cwd: str = "/"
    cgroups: tuple[str, ...] = ("/",)
    users: frozenset[int] = frozenset({1000})
    shares_mounts: bool = True
    stops: bool = True
    dies: bool = True
    standing: Standing = "running"
    forks: list[int] = field(default_factory=list)
    """PIDs of children that it makes while it runs, one at each look."""


class FakeHost:
    """Implements `Host` over a table of pretended processes."""

    def __init__(self) -> None:
        self.processes: dict[int, Fake] = {}
        self.asked: list[tuple[str, int]] = []
        self.pinned: set[ProcessKey] = set()
        self.clock_ns = 0

    def add(self, pid: int, parent: int = 1, **facts: object) -> ProcessKey:
        """Start a process; `facts` are fields of Fake, of its stat, or the image's path."""
        key = ProcessKey(pid, int(facts.pop("started", 1000 + pid)))
        stat_fields = {"group", "session", "tty", "flags", "comm", "state"}
        stat = ProcessStat(
            key=key, comm="x", state="S", parent_pid=parent, group=pid, session=1, tty=0, flags=0
        )
        stat = replace(stat, **{k: facts.pop(k) for k in stat_fields & set(facts)})
        image = facts.pop("image", f"/tmp/x{pid}")
        if isinstance(image, str):
            image = Image(path=image, device=0, inode=pid, link_count=1, is_named=True)
        self.processes[pid] = Fake(stat=stat, image=image, **facts)
        return key

    def find(self, key: ProcessKey) -> Fake:
        fake = self.processes.get(key.pid)
        if fake is None or fake.stat.key != key:
            raise ActionError(f"pid {key.pid} is gone")
        return fake

    def now_ns(self) -> int:
        return self.clock_ns

    def urgent(self) -> AbstractContextManager[None]:
        return nullcontext()

    def pin(self, key: ProcessKey) -> None:
        self.find(key)
        self.pinned.add(key)

    def pidfd(self, key: ProcessKey) -> int:
        return key.pid

    def release(self, keys: Iterable[ProcessKey]) -> None:
        self.pinned -= set(keys)

    def send_signal(self, key: ProcessKey, signum: signal.Signals) -> None:
        fake = self.find(key)
        assert key in self.pinned, "signalled without being pinned"
        self.asked.append((signum.name, key.pid))
        if signum is signal.SIGSTOP and fake.stops:
            fake.standing = "stopped"
        if signum is signal.SIGCONT:
            fake.standing = "running"
        if signum is signal.SIGKILL and fake.dies:
            self._end(key.pid)

    def _end(self, pid: int) -> None:
        del self.processes[pid]
        for fake in self.processes.values():
            if fake.stat.parent_pid == pid:
                fake.stat = replace(fake.stat, parent_pid=1)

    def await_deaths(self, keys: Collection[ProcessKey], timeout_s: float) -> set[ProcessKey]:
        return {key for key in keys if self._lives(key)}

    def stat(self, key: ProcessKey) -> ProcessStat:
        return self.find(key).stat

    def standing(self, key: ProcessKey) -> Standing:
        return self.find(key).standing if self._lives(key) else "stopped"

    def children(self, key: ProcessKey) -> tuple[ProcessKey, ...]:
        fake = self.processes.get(key.pid)
        if fake and fake.standing == "running" and fake.forks:
            self.add(fake.forks.pop(0), parent=key.pid, forks=list(fake.forks))
        return tuple(p.stat.key for p in self.processes.values() if p.stat.parent_pid == key.pid)

    def everyone(self) -> Iterable[ProcessStat]:
        return [fake.stat for fake in self.processes.values()]

    def image(self, key: ProcessKey) -> Image:
        return self.find(key).image

    def open_image(self, key: ProcessKey) -> int:
        try:
            return os.open(self.find(key).image.path, os.O_RDONLY)
        except OSError as error:
            raise ActionError(str(error)) from error

    def root(self, key: ProcessKey) -> str:
        return "/"

    def names_here(self, key: ProcessKey, path: str) -> tuple[str, ...]:
        return (path,)

    def cwd(self, key: ProcessKey) -> str:
        return self.find(key).cwd

    def argv(self, key: ProcessKey) -> tuple[str, ...]:
        return self.find(key).argv

    def cgroups(self, key: ProcessKey) -> tuple[str, ...]:
        return self.find(key).cgroups

    def cgroup_members(self, key: ProcessKey) -> tuple[ProcessKey, ...]:
        mine = self.find(key).cgroups
        return tuple(p.stat.key for p in self.processes.values() if p.cgroups == mine)

    def users(self, key: ProcessKey) -> frozenset[int]:
        return self.find(key).users

    def shares_mounts(self, key: ProcessKey) -> bool:
        return self.find(key).shares_mounts

    def _lives(self, key: ProcessKey) -> bool:
        return key.pid in self.processes and self.processes[key.pid].stat.key == key


class FakeKeeper:
    """Remembers who is in its care, or refuses to take anybody."""

    def __init__(self, host: FakeHost) -> None:
        self._host = host
        self.keys: dict[ProcessKey, int] = {}
        self.fails = False
        self.pid = 0

    def hold(self, pidfds: Mapping[ProcessKey, int]) -> None:
        if self.fails:
            raise ActionError("the keeper cannot be had")
        for key in pidfds:
            assert ("SIGSTOP", key.pid) not in self._host.asked, "stopped before it was in care"
        self.keys.update(pidfds)

    def forget(self, keys: Iterable[ProcessKey]) -> None:
        for key in keys:
            self.keys.pop(key, None)

    def held(self) -> tuple[ProcessKey, ...]:
        return tuple(self.keys)

    def forget_dead(self) -> None:
        """Nobody dies here by himself."""

    def check(self) -> bool:
        return False

    def stop(self) -> None:
        self.keys.clear()


@pytest.fixture
def host() -> FakeHost:
    """A host without processes."""
    return FakeHost()


@pytest.fixture
def keeper(host: FakeHost) -> FakeKeeper:
    """A keeper that has nobody in its care."""
    return FakeKeeper(host)


@pytest.fixture
def ledger(tmp_path):
    """An empty ledger of this boot."""
    with_boot = Ledger(tmp_path / "ledger.db", boot="this-boot")
    yield with_boot
    with_boot.close()


def decide(
    target: ProcessKey,
    *actions: ActionName,
    mode: str = "enforce",
    related: tuple[ProcessKey, ...] = (),
    addresses: tuple[tuple[str, int], ...] = (),
    correlated: bool = False,
    incident: str = "incident-1",
) -> Decision:
    """A decision as a policy makes it."""
    policy = PolicySummary(
        id="policy-1", title="t", level=Level.HIGH, status="stable", tags=(), response=actions
    )
    evidence = Evidence(
        policy_id="p", title="t", at_ns=0, process=target, category="dns_query", summary="s"
    )
    alert = Alert(
        at_ns=0,
        policy=policy,
        category="process_creation",
        event=Event(at_ns=0, process=target),
        process=target,
        actor=target,
        incident=incident,
        fields=(),
        evidence=(evidence,) if correlated else (),
    )
    return Decision(
        alert=alert,
        actions=actions,
        mode=mode,
        target=target,
        related=related,
        addresses=addresses,
        files=(),
        reason="because",
    )


@pytest.fixture
def decision() -> Callable[..., Decision]:
    """Make decisions; see `decide`."""
    return decide


@pytest.fixture
def intents() -> list[tuple[str, Mapping[str, object]]]:
    """What was written down before it was done."""
    return []


@pytest.fixture
def intend(intents) -> Intend:
    """Write intents to a list."""

    def write(target: str, undo: Mapping[str, object]) -> int:
        intents.append((target, dict(undo)))
        return len(intents)

    return write


ENDED = ProcessKey(9, 9)
"""A process that did something and lives no more."""


class Owned(Packages):
    """A package database of which the test says what is in it."""

    def __init__(self):
        super().__init__()
        self.files = set()

    def owner(self, path):
        return "pack" if path in self.files else ""


class CleanScene:
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

    def tree(self):
        """All files below, with content, mode, owner, times and, of links, where they lead."""
        found = {}
        for path in (self.root, *sorted(self.root.rglob("*"))):
            status = path.lstat()
            content = b""
            if path.is_symlink():
                content = os.readlink(path)
            elif path.is_file():
                content = path.read_bytes()
            found[str(path)] = (content, status.st_mode, status.st_uid, status.st_mtime_ns)
        return found


@pytest.fixture
def scene(tmp_path, host, keeper, intend, decision):
    """Files of our own, and nobody who did anything yet."""
    return CleanScene(tmp_path, host, keeper, intend, decision)
