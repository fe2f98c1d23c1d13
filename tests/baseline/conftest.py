# SPDX-License-Identifier: Apache-2.0
"""A compact way to write down what happens on a host, as the events that sources would tell."""

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from firedamp.analysis.indicator_lists import read_indicators
from firedamp.analysis.registry import analysers
from firedamp.context.host import HostContext
from firedamp.context.process import NO_LOGIN
from firedamp.events.model import (
    CgroupNamed,
    ConnectionOpened,
    CpuMeasured,
    DnsMessageSeen,
    Event,
    FileChanged,
    PayloadSeen,
    ProcessExecuted,
    ProcessExited,
    ProcessForked,
    ProcessFound,
    ProcessKey,
    ProcessRenamed,
)
from firedamp.pipeline import Pipeline
from firedamp.policy.compile import compile_policies
from firedamp.policy.decide import decide
from firedamp.policy.engine import Engine
from firedamp.policy.files import Place
from firedamp.policy.load import load_policies
from firedamp.policy.types import Alert, Decision
from firedamp.settings import Settings

POLICIES = Path(__file__).parents[2] / "policies"
NS_PER_S = 1_000_000_000
INIT = ProcessKey(1, 1)


@dataclass
class Day:
    """Events in their order; every call adds what the probes would say, and time goes on."""

    events: list[Event] = field(default_factory=list)
    now_s: float = 1000.0
    _pid: int = 100
    _cookie: int = 0
    _cgroups: dict[str, int] = field(default_factory=dict)
    _who: dict[ProcessKey, tuple[int, int, int]] = field(default_factory=dict)
    init: ProcessKey = INIT

    def __post_init__(self) -> None:
        self._found(INIT, ProcessKey(0, 0), "/usr/lib/systemd/systemd", "/init.scope")
        self.sshd = self.service("/usr/sbin/sshd", "ssh.service")
        self.cron = self.service("/usr/sbin/cron", "cron.service")

    def service(self, image: str, unit: str, *, uid: int = 0) -> ProcessKey:
        """A service that ran already when we came."""
        return self._found(self._next(), INIT, image, f"/system.slice/{unit}", uid=uid)

    def start(self, unit: str, image: str, *argv: str, **known: object) -> ProcessKey:
        """Make systemd start a service."""
        return self.run(INIT, image, *argv, cgroup=f"/system.slice/{unit}", **known)

    def login(self, uid: int = 0) -> ProcessKey:
        """Someone logs in over SSH and gets a shell."""
        cgroup = f"/user.slice/user-{uid}.slice/session-{self._pid}.scope"
        session = self.run(self.sshd, "/usr/sbin/sshd", "sshd: root [priv]", cgroup=cgroup)
        return self.run(session, "/usr/bin/bash", "-bash", uid=uid, cgroup=cgroup, loginuid=uid)

    def run(
        self, parent: ProcessKey, image: str, *argv: str, filename: str = "", **known: object
    ) -> ProcessKey:
        """A process starts another, which runs a program."""
        key = self._next()
        uid, loginuid, cgroup_id = self._who[parent]
        cgroup = known.pop("cgroup", None)
        if cgroup is not None:
            cgroup_id = self._cgroup(str(cgroup))
        uid, loginuid = known.pop("uid", uid), known.pop("loginuid", loginuid)
        self._who[key] = uid, loginuid, cgroup_id
        self._add(ProcessForked, key, parent=parent, uid=uid, cgroup_id=cgroup_id, comm="x")
        self._execute(ProcessExecuted, key, parent, image, argv, filename=filename, **known)
        return key

    def shell(self, parent: ProcessKey, command: str, **known: object) -> ProcessKey:
        """A process has a shell run a command line."""
        return self.run(parent, "/usr/bin/dash", "/bin/sh", "-c", command, **known)

    def exit(self, key: ProcessKey) -> None:
        self._add(ProcessExited, key, exit_code=0, cpu_ns=10**8)

    def rename(self, key: ProcessKey, comm: str) -> None:
        self._add(ProcessRenamed, key, comm=comm, old_comm="x")

    def write(self, key: ProcessKey, place: str, path: str, operation: str = "write") -> None:
        """A process changes a watched file."""
        self._add(
            FileChanged, key, path=path, old_path="", operation=operation, place=place, inode=5,
            device=1, uid=self._who[key][0],
        )  # fmt: skip

    def connect(
        self, key: ProcessKey, address: str, port: int = 443, transport: str = "tcp"
    ) -> int:
        """A process asks for a connection; gives its cookie."""
        self._cookie += 1
        self._add(
            ConnectionOpened, key, cookie=self._cookie, transport=transport, address=address,
            port=port, uid=self._who[key][0], denied=False,
        )  # fmt: skip
        return self._cookie

    def resolve(self, key: ProcessKey, name: str, *addresses: str) -> None:
        """A process asks for a name and is answered."""
        asked = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
        question = asked + b"\x00" + struct.pack("!HH", 1, 1)
        records = b"".join(
            b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + bytes(map(int, each.split(".")))
            for each in addresses
        )
        cookie = self.connect(key, "127.0.0.53", 53, "udp")
        for direction, flags, count, body in (
            ("out", 0x0100, 0, b""),
            ("in", 0x8180, len(addresses), records),
        ):
            data = struct.pack("!HHHHHH", 7, flags, 1, count, 0, 0) + question + body
            self._add(
                DnsMessageSeen, key, cookie=cookie, direction=direction, address="127.0.0.53",
                port=53, length=len(data), data=data,
            )  # fmt: skip

    def talk(self, key: ProcessKey, address: str, port: int, *lines: object) -> None:
        """A process connects and says each line; a line in a list is what it hears."""
        cookie = self.connect(key, address, port)
        sequences = {"out": 1, "in": 1}
        for line in lines:
            direction = "in" if isinstance(line, list) else "out"
            said = line[0] if isinstance(line, list) else line
            data = said if isinstance(said, bytes) else json.dumps(said).encode() + b"\n"
            self._add(
                PayloadSeen, key, cookie=cookie, direction=direction, transport="tcp",
                address=address, port=port, sequence=sequences[direction], length=len(data),
                data=data,
            )  # fmt: skip
            sequences[direction] += len(data)

    def work(self, key: ProcessKey, *, cores: float, seconds: int, threads: int = 1) -> None:
        """A process keeps processors busy for a while."""
        began_s = self.now_s
        for second in range(seconds + 1):
            self.now_s = began_s + second
            self._add(CpuMeasured, key, cpu_ns=round(cores * second * NS_PER_S), threads=threads)

    def _found(
        self, key: ProcessKey, parent: ProcessKey, image: str, cgroup: str, *, uid: int = 0
    ) -> ProcessKey:
        self._who[key] = uid, NO_LOGIN, self._cgroup(cgroup)
        self._execute(ProcessFound, key, parent, image, (image,))
        return key

    def _execute(
        self, kind: type[ProcessExecuted], key: ProcessKey, parent: ProcessKey, image: str,
        argv: tuple[str, ...], *, filename: str = "", **known: object,
    ) -> None:  # fmt: skip
        uid, loginuid, cgroup_id = self._who[key]
        fields = {
            "parent": parent, "image": image, "filename": filename or image,
            "argv": argv or (image,),
            "argv_cut": False, "cwd": "/root", "comm": (filename or image).rsplit("/", 1)[-1][:15],
            "uid": uid, "gid": uid, "loginuid": loginuid, "device": 1, "inode": 7, "link_count": 1,
            "mode": 0o100755, "image_uid": 0, "cgroup_id": cgroup_id, "mount_ns": 1, "pid_ns": 1,
            "net_ns": 1,
        }  # fmt: skip
        self._add(kind, key, **{**fields, **known})

    def _add(self, kind: type[Event], key: ProcessKey, **fields: object) -> None:
        self.now_s += 0.001
        self.events.append(kind(at_ns=round(self.now_s * NS_PER_S), process=key, **fields))

    def _next(self) -> ProcessKey:
        self._pid += 1
        return ProcessKey(self._pid, round(self.now_s * 100))

    def _cgroup(self, path: str) -> int:
        number = self._cgroups.setdefault(path, len(self._cgroups) + 1)
        self._add(CgroupNamed, ProcessKey(0, 0), cgroup_id=number, path=path)
        return number


@dataclass(frozen=True)
class Verdict:
    """What the daemon would say and do about a stream."""

    alerts: list[Alert]
    decisions: list[Decision]

    @property
    def names(self) -> set[str]:
        """Files of the policies that raised alerts, without their suffix."""
        return {Path(alert.policy.path).stem for alert in self.alerts}


@pytest.fixture(scope="session")
def compiled():
    """The shipped policies."""
    loaded = load_policies([Place(path=POLICIES, shipped=True)])
    assert not loaded.policies.inapplicable
    return compile_policies(loaded.policies)


@pytest.fixture(scope="session")
def indicators():
    """The shipped lists."""
    lists = [(path.stem, path.read_text()) for path in (POLICIES / "indicators").glob("*.txt")]
    return read_indicators(lists)[0]


@pytest.fixture
def judge(compiled, indicators):
    """Run a stream through everything between the sources and the response."""

    def run(day: Day) -> Verdict:
        settings = Settings(mode="enforce")
        host = HostContext(indicators)
        pipeline = Pipeline(host, analysers(settings), Engine(compiled, boot_id="test"))
        alerts, decisions = [], []
        for event in day.events:
            for alert in pipeline.feed(event):
                alerts.append(alert)
                decision = decide(alert, settings, host)
                if decision is not None:
                    decisions.append(decision)
        return Verdict(alerts, decisions)

    return run


@pytest.fixture
def day():
    """A host with systemd, sshd and cron."""
    return Day()
