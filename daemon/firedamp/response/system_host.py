# SPDX-License-Identifier: Apache-2.0
"""Processes as they really are: pidfds and /proc.

Pin first, then check: once the pidfd is open the PID cannot be recycled under us, so a start
time that matches proves that we hold the process we mean. All later signals go through the
descriptor. What is read from /proc about a pinned process is therefore about that process,
or about nothing once it has ended.
"""

import contextlib
import os
import select
import signal
import time
from collections.abc import Collection, Iterable, Iterator

from firedamp.cgroups import cgroup2_mount
from firedamp.errors import ActionError
from firedamp.events.model import ProcessKey
from firedamp.response import mounts
from firedamp.response.host import Image, ProcessStat, Standing

_DELETED = " (deleted)"
_CHUNK = 65536
_STILL = "TtZXx"
"""Thread states: stopped, stopped by a tracer, ended."""


class SystemHost:
    """The host that the daemon runs on."""

    def __init__(self) -> None:
        self._pidfds: dict[ProcessKey, int] = {}
        # CONFIG_PROC_CHILDREN; without it every look for children is a scan of /proc.
        self.lists_children = os.path.exists("/proc/thread-self/children")
        self._mounts = _mount_namespace("self")

    def now_ns(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    @contextlib.contextmanager
    def urgent(self) -> Iterator[None]:
        before, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
        try:
            # What is started meanwhile, to build the nftables table for one, does not inherit it.
            policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
            os.sched_setscheduler(0, policy, os.sched_param(1))
        except OSError:
            yield  # it takes CAP_SYS_NICE, and real-time shares in our cgroup
            return
        try:
            yield
        finally:
            os.sched_setscheduler(0, before, parameters)

    # ---- hold and signal --------------------------------------------------------------------

    def pin(self, key: ProcessKey) -> None:
        if key in self._pidfds:
            return
        try:
            pidfd = os.pidfd_open(key.pid)
        except OSError as error:
            raise ActionError(f"pid {key.pid} is gone: {error.strerror}") from error
        try:
            self.stat(key)
            if _has_ended(pidfd):
                raise ActionError(f"pid {key.pid} has ended")
        except BaseException:
            os.close(pidfd)
            raise
        self._pidfds[key] = pidfd

    def pidfd(self, key: ProcessKey) -> int:
        try:
            return self._pidfds[key]
        except KeyError:
            raise ActionError(f"pid {key.pid} is not pinned") from None

    def release(self, keys: Iterable[ProcessKey]) -> None:
        for key in keys:
            pidfd = self._pidfds.pop(key, -1)
            if pidfd >= 0:
                os.close(pidfd)

    def send_signal(self, key: ProcessKey, signum: signal.Signals) -> None:
        try:
            signal.pidfd_send_signal(self.pidfd(key), signum)
        except OSError as error:
            raise ActionError(f"{signum.name} to pid {key.pid}: {error.strerror}") from error

    def await_deaths(self, keys: Collection[ProcessKey], timeout_s: float) -> set[ProcessKey]:
        waiting = {self.pidfd(key): key for key in keys}
        poll = select.poll()
        for pidfd in waiting:
            poll.register(pidfd, select.POLLIN)
        until = time.monotonic() + timeout_s
        while waiting:
            left_ms = max(0.0, (until - time.monotonic()) * 1000)
            ended = poll.poll(left_ms)
            for pidfd, _ in ended:
                poll.unregister(pidfd)
                del waiting[pidfd]
            if not ended and left_ms == 0:
                break
        return set(waiting.values())

    # ---- look -------------------------------------------------------------------------------

    def stat(self, key: ProcessKey) -> ProcessStat:
        stat = parse_stat(key.pid, _read(f"/proc/{key.pid}/stat"))
        if stat.key != key:
            raise ActionError(f"pid {key.pid} now belongs to another process")
        return stat

    def standing(self, key: ProcessKey) -> Standing:
        try:
            threads = os.listdir(f"/proc/{key.pid}/task")
        except OSError:
            return "stopped"
        states = {_thread_state(key, tid) for tid in threads}
        if not states <= set(_STILL) | {"D"}:
            return "running"
        return "blocked" if "D" in states else "stopped"

    def children(self, key: ProcessKey) -> tuple[ProcessKey, ...]:
        if not self.lists_children:
            return tuple(s.key for s in self.everyone() if s.parent_pid == key.pid)
        found = (self._stat_of(pid) for pid in _child_pids(key.pid))
        return tuple(s.key for s in found if s is not None and s.parent_pid == key.pid)

    def everyone(self) -> Iterator[ProcessStat]:
        for name in os.listdir("/proc"):
            if name.isdigit() and (stat := self._stat_of(int(name))) is not None:
                yield stat

    def image(self, key: ProcessKey) -> Image:
        link = f"/proc/{key.pid}/exe"
        try:
            path = os.readlink(link)
            status = os.stat(link)
        except OSError as error:
            raise ActionError(f"image of pid {key.pid}: {error.strerror}") from error
        is_named = True
        # A file may really be called `x (deleted)`: then a file of that name is there.
        if path.endswith(_DELETED) and not _is_file(path, status):
            path, is_named = path.removesuffix(_DELETED), False
        return Image(
            path=path,
            device=status.st_dev,
            inode=status.st_ino,
            link_count=status.st_nlink,
            is_named=is_named,
        )

    def open_image(self, key: ProcessKey) -> int:
        try:
            return os.open(f"/proc/{key.pid}/exe", os.O_RDONLY | os.O_CLOEXEC | os.O_NOATIME)
        except OSError as error:
            raise ActionError(f"image of pid {key.pid}: {error.strerror}") from error

    def root(self, key: ProcessKey) -> str:
        return f"/proc/{key.pid}/root"

    def names_here(self, key: ProcessKey, path: str) -> tuple[str, ...]:
        theirs, ours = (
            mounts.parse(os.fsdecode(_read_all(f"/proc/{pid}/mountinfo")))
            for pid in (key.pid, "self")
        )
        return tuple(dict.fromkeys((path, *mounts.names_here(path, theirs, ours))))

    def cwd(self, key: ProcessKey) -> str:
        try:
            return os.readlink(f"/proc/{key.pid}/cwd")
        except OSError as error:
            raise ActionError(f"directory of pid {key.pid}: {error.strerror}") from error

    def argv(self, key: ProcessKey) -> tuple[str, ...]:
        raw = _read_all(f"/proc/{key.pid}/cmdline")
        return tuple(os.fsdecode(word) for word in raw.removesuffix(b"\0").split(b"\0"))

    def cgroups(self, key: ProcessKey) -> tuple[str, ...]:
        lines = os.fsdecode(_read(f"/proc/{key.pid}/cgroup")).splitlines()
        parts = [part for line in lines if len(part := line.split(":", 2)) == 3]
        # `0::/path` is version 2 and comes last. A name may hold a colon, a path a newline.
        parts.sort(key=lambda part: (part[0] != "0", part[1] != "name=systemd"))
        return tuple(dict.fromkeys(part[2] for part in parts))

    def cgroup_members(self, key: ProcessKey) -> tuple[ProcessKey, ...]:
        root = cgroup2_mount()
        for line in os.fsdecode(_read(f"/proc/{key.pid}/cgroup")).splitlines():
            if root and line.startswith("0::"):
                pids = _read_all(f"{root}{line[3:]}/cgroup.procs").split()
                found = (self._stat_of(int(pid)) for pid in pids)
                return tuple(stat.key for stat in found if stat is not None)
        return ()

    def users(self, key: ProcessKey) -> frozenset[int]:
        for line in _read(f"/proc/{key.pid}/status").split(b"\n"):
            if line.startswith(b"Uid:"):
                return frozenset(int(uid) for uid in line.split()[1:4])
        raise ActionError(f"pid {key.pid} shows no user")

    def shares_mounts(self, key: ProcessKey) -> bool:
        return _mount_namespace(key.pid) == self._mounts

    # ---- private ----------------------------------------------------------------------------

    def _stat_of(self, pid: int) -> ProcessStat | None:
        try:
            return parse_stat(pid, _read(f"/proc/{pid}/stat"))
        except ActionError:
            return None


def _has_ended(pidfd: int) -> bool:
    """Also true of a zombie: it has a PID, but nothing that could be acted on."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def parse_stat(pid: int, raw: bytes) -> ProcessStat:
    """Read one line of /proc/PID/stat.

    Raises:
        ActionError: it is not such a line.
    """
    try:
        # The name may hold anything, brackets and blanks too; no field after it does.
        head, _, tail = raw.rpartition(b")")
        fields = tail.split()
        return ProcessStat(
            key=ProcessKey(pid, int(fields[19])),
            comm=os.fsdecode(head.partition(b"(")[2]),
            state=fields[0].decode("ascii"),
            parent_pid=int(fields[1]),
            group=int(fields[2]),
            session=int(fields[3]),
            tty=int(fields[4]),
            flags=int(fields[6]),
        )
    except (IndexError, ValueError) as error:
        raise ActionError(f"pid {pid}: no such form of /proc/PID/stat is known") from error


def _state(raw: bytes) -> str:
    return raw.rpartition(b")")[2].split(maxsplit=1)[0].decode("ascii")


def _thread_state(key: ProcessKey, tid: str) -> str:
    try:
        return _state(_read(f"/proc/{key.pid}/task/{tid}/stat"))
    except ActionError:
        return "X"


def _child_pids(pid: int) -> list[int]:
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    children: list[int] = []
    for tid in threads:
        # A thread may end meanwhile; its children then belong to another thread.
        with contextlib.suppress(ActionError):
            children += map(int, _read_all(f"/proc/{pid}/task/{tid}/children").split())
    return children


def _mount_namespace(pid: int | str) -> int:
    try:
        return os.stat(f"/proc/{pid}/ns/mnt").st_ino
    except OSError:
        return -1


def _is_file(path: str, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(path), status)
    except OSError:
        return False


def _read(path: str) -> bytes:
    """Read a file of /proc whose text the kernel makes in one go."""
    return _read_with(path, whole=False)


def _read_all(path: str) -> bytes:
    """Read a file of /proc that comes in pieces."""
    return _read_with(path, whole=True)


def _read_with(path: str, *, whole: bool) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ActionError(f"{path}: {error.strerror}") from error
    try:
        content = os.read(fd, _CHUNK)
        while whole and (chunk := os.read(fd, _CHUNK)):
            content += chunk
        return content
    except OSError as error:
        raise ActionError(f"{path}: {error.strerror}") from error
    finally:
        os.close(fd)
