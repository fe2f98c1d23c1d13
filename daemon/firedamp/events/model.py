# SPDX-License-Identifier: Apache-2.0
"""What happened on the host, as immutable values.

Nothing here performs I/O, and nothing here knows where an event came from: a probe, an
audit record, a scan of /proc and a replayed file all become the same classes.

Times are nanoseconds of the boot-time clock (CLOCK_BOOTTIME), which suspend does not skew.
A process is named by its PID in the daemon's own PID namespace and by its start time in
ticks of USER_HZ (1/100 s) since boot. Ticks, although probes know nanoseconds, because ticks
are what /proc/PID/stat shows (field 22): one process has one key whichever source saw it,
and a PID cannot come round again within a tick.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar, dataclass_transform

T = TypeVar("T")

NS_PER_TICK = 10_000_000


@dataclass_transform(frozen_default=True, kw_only_default=True)
def fact(cls: type[T]) -> type[T]:
    """A class of immutable values.

    The type checker enforces it, the interpreter does not: a frozen dataclass takes three times
    as long to make, and one is made for each fork, exec and exit of the host.
    """
    return dataclass(slots=True, kw_only=True, unsafe_hash=True)(cls)


class ProcessKey(NamedTuple):
    """Names one process for as long as the host is up, even after its PID is reused."""

    pid: int
    started_ticks: int

    def __str__(self) -> str:
        return f"{self.pid}:{self.started_ticks}"


UNKNOWN_PROCESS = ProcessKey(0, 0)
"""The process of an event that no process of our PID namespace can be named for."""


@fact
class Event:
    """One fact about one process. Subclasses are named in the past tense."""

    at_ns: int
    process: ProcessKey


# ---- processes ------------------------------------------------------------------------------


@fact
class ProcessForked(Event):
    """`process` came to be as a copy of `parent`; threads are not reported."""

    parent: ProcessKey
    uid: int
    cgroup_id: int
    comm: str


@fact
class ProcessExecuted(Event):
    """A process replaced its image."""

    parent: ProcessKey
    image: str
    """Path of the file that now runs, as its mount namespace sees it: for a script, of the
    interpreter. `/memfd:name` for an anonymous file."""
    filename: str
    """What execve() was asked for: relative or absolute, for a script the script."""
    argv: tuple[str, ...]
    argv_cut: bool
    """The kernel side kept only the first WIRE_ARGV_LEN bytes of the arguments."""
    cwd: str
    comm: str
    uid: int
    gid: int
    loginuid: int
    """Audit login UID; 4294967295 where no login is behind the process."""
    device: int
    """Of the image's file system, as the kernel encodes it: major << 20 | minor."""
    inode: int
    link_count: int
    """0: the image has no name in any directory."""
    mode: int
    """st_mode of the image."""
    image_uid: int
    """Owner of the image."""
    cgroup_id: int
    mount_ns: int
    pid_ns: int
    net_ns: int
    """Namespaces by inode number; 0 where unknown."""


@fact
class ProcessFound(ProcessExecuted):
    """A process that ran already when the daemon started, as a look at /proc shows it."""


@fact
class ProcessExited(Event):
    """The last thread of a process ended. `cpu_ns` is the CPU time of its whole life."""

    exit_code: int
    """As wait(2) gives it: signal in the low 7 bits, exit status << 8."""
    cpu_ns: int


@fact
class ProcessRenamed(Event):
    """A process gave its main thread another name, without an exec."""

    comm: str
    old_comm: str


# ---- network --------------------------------------------------------------------------------

Transport = Literal["tcp", "udp", "other"]
Direction = Literal["out", "in"]


@fact
class ConnectionOpened(Event):
    """A process asked for a connection, or sent its first datagram to an address."""

    cookie: int
    """The kernel's name for the socket, unique while the host is up; 0 where unknown."""
    transport: Transport
    address: str
    """Remote address in its shortest text form; v4-mapped IPv6 as IPv4."""
    port: int
    uid: int
    denied: bool
    """The kernel refused it because of our deny map."""


@fact
class ConnectionFound(ConnectionOpened):
    """A connection that was there already when the daemon started."""


@fact
class PayloadSeen(Event):
    """A segment from the start of a connection that begins like a protocol we parse."""

    cookie: int
    direction: Direction
    transport: Transport
    address: str
    port: int
    """Of the remote end, whichever way the segment goes."""
    sequence: int
    """TCP sequence number of the first byte; tells a retransmission from news."""
    length: int
    """Bytes that the segment carried; `data` may hold fewer."""
    data: bytes


@fact
class DnsMessageSeen(Event):
    """A datagram to or from port 53, undecoded."""

    cookie: int
    direction: Direction
    address: str
    port: int
    length: int
    data: bytes


# ---- files ----------------------------------------------------------------------------------

FileOperation = Literal["create", "write", "open", "rename", "link", "delete", "attributes"]


@fact
class FileChanged(Event):
    """A watched file or an entry of a watched directory changed."""

    path: str
    old_path: str
    """Where it was before, for a rename inside watched directories; else empty."""
    operation: FileOperation
    place: str
    """What kind of place it is: cron, preload, ssh_keys, systemd, … ; see `watch.places`."""
    inode: int
    device: int
    uid: int
    """User of the process that did it; 4294967295 where unknown."""
    added_lines: tuple[str, ...] = ()
    """Lines that the file has now and did not have when last looked at."""


# ---- CPU, host facts, losses ----------------------------------------------------------------


@fact
class CpuMeasured(Event):
    """CPU time (user and system, all threads) that a busy process has used since it started."""

    cpu_ns: int
    threads: int


@fact
class CgroupNamed(Event):
    """The path, below the cgroup v2 mount, of a cgroup id that other events carry."""

    cgroup_id: int
    path: str


@fact
class UserNamed(Event):
    """The account name of a UID that other events carry."""

    uid: int
    name: str


@fact
class RecordsLost(Event):
    """Records that a source could not deliver since it last said so."""

    source: str
    kind: str
    """exec, fork, exit, rename, connect, payload, dns, file, …"""
    count: int


# ---- evidence: what analysers make of the above ---------------------------------------------


@fact
class MiningProtocolSpoken(Event):
    """A message of a protocol that only miners, pools and their proxies speak.

    With `protocol` "json-rpc" it is a JSON-RPC message that is none of them.
    """

    cookie: int
    direction: Direction
    address: str
    port: int
    protocol: str
    """stratum-monero, stratum-v1, stratum-eth, getblocktemplate, json-rpc."""
    method: str
    """The method as sent; for a server's unprompted result, `result` or `job`."""
    login: str
    """Wallet, account or worker that the client names; empty where none."""
    agent: str
    algorithms: tuple[str, ...] = ()


@fact
class DnsAsked(Event):
    """A process asked for a name."""

    name: str
    """Lower case, without the final dot."""
    record_type: str
    server: str


@fact
class DnsAnswered(Event):
    """A name server answered a process."""

    name: str
    record_type: str
    response_code: str
    """NOERROR, NXDOMAIN, …"""
    addresses: tuple[str, ...]
    aliases: tuple[str, ...]


@fact
class CpuSustained(Event):
    """A process kept CPUs busy over a whole window of time."""

    cores: float
    """CPU time over elapsed time: 1.0 is one core, whatever the machine has."""
    window_s: int
    threads: int
