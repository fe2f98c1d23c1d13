# SPDX-License-Identifier: Apache-2.0
"""What /proc says about processes: those that run already, and who a PID is.

Rule 1. A process may end, or become another, between any two looks. Whatever cannot be read
        any more is left out; nothing here raises because of it.
Rule 2. Kernel threads are left out, by the kernel's own flag and not for lack of an image or
        arguments, which any process can feign.
Rule 3. A process whose first thread has ended but whose others run is looked at through one
        of those: its own entries in /proc are as empty as a kernel thread's.
"""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from firedamp.events.model import UNKNOWN_PROCESS, ProcessFound, ProcessKey
from firedamp.sources.filefacts import FileFacts, of_descriptor
from firedamp.sources.ownproc import link, numbers, proc, read

NO_UID: Final = 0xFFFFFFFF
MAX_ARGV_BYTES: Final = 4096
"""As much as the exec probe keeps: a process found gets the verdict of one seen starting."""
_PF_KTHREAD = 0x0020_0000
_DELETED = " (deleted)"
_NO_IMAGE = FileFacts(0, NO_UID, NO_UID, 1, 0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """The part of /proc/PID/stat that is of use here."""

    key: ProcessKey
    comm: str
    state: str
    parent_pid: int
    is_kernel_thread: bool
    cpu_ticks: int
    """User and system time of all threads, those that ended included."""
    threads: int


def read_stat(pid: int) -> ProcessStat | None:
    """None where there is no such process."""
    data = read(f"{pid}/stat", 1024)
    start, end = data.find(b"("), data.rfind(b")")
    if start < 0 or end < 0:
        return None
    # After the name: state, ppid, …, so that field N of proc(5) is fields[N - 3].
    fields = data[end + 2 :].split()
    return ProcessStat(
        key=ProcessKey(pid, int(fields[19])),
        comm=os.fsdecode(data[start + 1 : end]),
        state=fields[0].decode("ascii"),
        parent_pid=int(fields[1]),
        is_kernel_thread=bool(int(fields[6]) & _PF_KTHREAD),
        cpu_ticks=int(fields[11]) + int(fields[12]),
        threads=int(fields[17]),
    )


def process_key(pid: int) -> ProcessKey | None:
    """Who has this PID now; None where nobody has."""
    stat = read_stat(pid)
    return stat.key if stat else None


def identify(pid: int, pidfd: int | None) -> tuple[ProcessKey, int]:
    """Who a record means by a PID, and the real UID (NO_UID where it cannot be known).

    With a pidfd it is exactly that process, or, if that is gone, the PID with 0 for its start.
    With None, the answer is whoever has the PID now.
    """
    if pid <= 0:
        return UNKNOWN_PROCESS, NO_UID
    gone = ProcessKey(pid, 0), NO_UID
    if pidfd is not None and pidfd < 0:
        return gone
    key, uid = process_key(pid), real_uid(pid)
    if key is None:
        return gone
    if pidfd is not None:
        # Only if the process is there still was all of the above about it.
        try:
            signal.pidfd_send_signal(pidfd, 0)
        except ProcessLookupError:
            return gone
        except PermissionError:
            pass
    return key, uid


def real_uid(pid: int) -> int:
    return _ids(read(f"{pid}/status", 4096), b"\nUid:")


def pids() -> list[int]:
    return numbers(".")


def snapshot(cgroup_root: str = "") -> list[ProcessFound]:
    """All processes that run, parents before their children, with rising `at_ns`.

    `at_ns` is the end of the look at that process: what it does afterwards is not in it.
    `cgroup_root` is where cgroup v2 is mounted; empty: ids of cgroups stay 0.
    """
    looker = _Looker(cgroup_root)
    stats = {stat.key.pid: stat for stat in map(read_stat, pids()) if stat is not None}
    ordered = _parents_first(stats)
    found = (looker.look(stat, stats.get(stat.parent_pid)) for stat in ordered)
    return [process for process in found if process is not None]


def _parents_first(stats: dict[int, ProcessStat]) -> Iterator[ProcessStat]:
    children: dict[int, list[ProcessStat]] = {}
    for stat in stats.values():
        parent = stat.parent_pid if stat.parent_pid in stats else 0
        children.setdefault(parent, []).append(stat)
    pending = children.pop(0, [])[::-1]
    while pending:
        stat = pending.pop()
        yield stat
        pending += children.pop(stat.key.pid, [])
    # PIDs that came round again while we read can make a circle: nobody is left out.
    for rest in children.values():
        yield from rest


class _Looker:
    def __init__(self, cgroup_root: str) -> None:
        self._cgroup_root = cgroup_root
        self._cgroup_ids: dict[bytes, int] = {}

    def look(self, stat: ProcessStat, parent: ProcessStat | None) -> ProcessFound | None:
        if stat.is_kernel_thread:
            return None
        pid = stat.key.pid
        running = _running(pid)
        if running is None:
            return None
        at, image, facts = running
        arguments = read(f"{at}/cmdline", MAX_ARGV_BYTES + 1)
        status = read(f"{at}/status", 4096)
        found = ProcessFound(
            at_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME),
            process=stat.key,
            parent=parent.key if parent else ProcessKey(stat.parent_pid, 0),
            image=image,
            filename=image,
            argv=_argv(arguments[:MAX_ARGV_BYTES]),
            argv_cut=len(arguments) > MAX_ARGV_BYTES,
            cwd=link(f"{at}/cwd"),
            comm=os.fsdecode(read(f"{at}/comm", 64).rstrip(b"\n")) or stat.comm,
            uid=_ids(status, b"\nUid:"),
            gid=_ids(status, b"\nGid:"),
            loginuid=int(read(f"{at}/loginuid", 32) or NO_UID),
            device=facts.device,
            inode=facts.inode,
            link_count=facts.link_count,
            mode=facts.mode,
            image_uid=facts.uid,
            cgroup_id=self._cgroup_id(at),
            mount_ns=_namespace(at, "mnt"),
            pid_ns=_namespace(at, "pid"),
            net_ns=_namespace(at, "net"),
        )
        return found if process_key(pid) == stat.key else None

    def _cgroup_id(self, at: str) -> int:
        if not self._cgroup_root:
            return 0
        for line in read(f"{at}/cgroup", 16384).splitlines():
            if line.startswith(b"0::"):
                return self._inode_of_cgroup(line[3:])
        return 0

    def _inode_of_cgroup(self, path: bytes) -> int:
        if path not in self._cgroup_ids:
            try:
                inode = os.stat(os.fsencode(self._cgroup_root) + path).st_ino
            except OSError:
                return 0
            self._cgroup_ids[path] = inode
        return self._cgroup_ids[path]


def _running(pid: int) -> tuple[str, str, FileFacts] | None:
    """Where in /proc to look at a process, and its image; None if no thread of it runs on."""
    for at in (str(pid), *(f"{pid}/task/{thread}" for thread in numbers(f"{pid}/task"))):
        try:
            return at, *_image(at)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has given up its memory, as one that is ending does first
        except OSError:
            return at, "", _NO_IMAGE  # it lives, and keeps its image from us
    return None


def _image(at: str) -> tuple[str, FileFacts]:
    """The file that runs, named as it was when it was opened, and facts about it."""
    path = os.readlink(f"{at}/exe", dir_fd=proc())
    fd = os.open(f"{at}/exe", os.O_PATH | os.O_CLOEXEC, dir_fd=proc())
    try:
        facts = of_descriptor(fd)
    finally:
        os.close(fd)
    if path.endswith(_DELETED) and not _is_named(f"{at}/root{path}", facts):
        path = path.removesuffix(_DELETED)
    return path, facts


def _is_named(path: str, facts: FileFacts) -> bool:
    """The path leads to that file: it really is called so."""
    try:
        return os.stat(path, dir_fd=proc(), follow_symlinks=False).st_ino == facts.inode
    except OSError:
        return False


def _argv(data: bytes) -> tuple[str, ...]:
    if not data:
        return ()
    # A process that writes its own title ends it in a row of NULs, or in none.
    text = data.removesuffix(b"\0")
    title = text.rstrip(b"\0")
    arguments = (title if len(text) - len(title) > 1 else text).split(b"\0")
    return tuple(os.fsdecode(argument) for argument in arguments)


def _namespace(at: str, name: str) -> int:
    text = link(f"{at}/ns/{name}")
    number = text[text.find("[") + 1 : -1]
    return int(number) if number.isdecimal() else 0


def _ids(status: bytes, label: bytes) -> int:
    """The first, real, id of a line in /proc/PID/status."""
    start = status.find(label)
    return int(status[start + len(label) :].split(None, 1)[0]) if start >= 0 else NO_UID
