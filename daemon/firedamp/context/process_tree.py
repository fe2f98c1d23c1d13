# SPDX-License-Identifier: Apache-2.0
"""Who runs what, who started whom, and which actor each process belongs to.

Rules:

1. A process keeps the parent that the trace saw start it, whatever the kernel reparents it to:
   a double fork does not cut the lineage.
2. The actor is the oldest ancestor below the session, service or container: the first process
   that a *boundary* started. A boundary is what starts other people's work and is not part of
   it: PID 1, kthreadd, and the service managers, login servers, schedulers and container shims
   named below, known by the path of what they run, which a child cannot choose for them.
3. An actor is settled when a process is first seen and never changes, so that evidence given
   under it stays together.
4. A dead process is remembered for a while: events of other sources come late, and its children
   go on. Then it goes, unless it has living descendants that were started by it.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from firedamp.context.process import Process
from firedamp.events.model import (
    UNKNOWN_PROCESS,
    Event,
    ProcessExecuted,
    ProcessExited,
    ProcessForked,
    ProcessKey,
    ProcessRenamed,
)

REMEMBERED_NS = 60_000_000_000
MAX_DEAD = 20_000
"""Bounds the memory of a storm of short-lived processes: some 10 MiB."""

BOUNDARIES = frozenset(
    {
        "/lib/systemd/systemd",
        "/usr/lib/systemd/systemd",
        "/sbin/init",
        "/usr/sbin/init",
        "/lib/systemd/systemd-executor",
        "/usr/lib/systemd/systemd-executor",
        "/usr/sbin/sshd",
        "/usr/lib/openssh/sshd-session",
        "/usr/sbin/cron",
        "/usr/sbin/crond",
        "/usr/sbin/atd",
        "/usr/sbin/anacron",
        "/bin/login",
        "/usr/bin/login",
        "/usr/bin/containerd-shim",
        "/usr/bin/containerd-shim-runc-v2",
        "/usr/bin/conmon",
        "/usr/bin/dockerd",
        "/usr/bin/containerd",
        "/usr/sbin/runc",
        "/usr/bin/runc",
        "/usr/bin/crun",
        "/usr/bin/systemd-nspawn",
        "/usr/sbin/xinetd",
        "/usr/sbin/inetd",
        "/usr/bin/supervisord",
    }
)


class ProcessTree:
    """All processes alive, and the recently dead."""

    def __init__(self) -> None:
        self._processes: dict[ProcessKey, Process] = {}
        self._by_pid: dict[int, ProcessKey] = {}
        self._dead: deque[ProcessKey] = deque()

    def __len__(self) -> int:
        return len(self._processes)

    def get(self, key: ProcessKey) -> Process:
        """What is known of a process; a bare `Process` where nothing is.

        A key without a start time, as sources give it that learn only a PID, and too late to
        look, means the last process remembered under that PID.
        """
        found = self._processes.get(key)
        if found is None and key.pid and not key.started_ticks:
            found = self._processes.get(self._by_pid.get(key.pid, UNKNOWN_PROCESS))
        return found or Process(key=key, actor=key)

    def observe(self, event: Event) -> Process:
        """Remember what an event says of processes; give back whom it is about."""
        if isinstance(event, ProcessForked):  # the most frequent first: this runs for each event
            return self._forked(event)
        if isinstance(event, ProcessExecuted):
            return self._executed(event)
        if isinstance(event, ProcessExited):
            return self._exited(event)
        process = self.get(event.process)
        if isinstance(event, ProcessRenamed):
            process.comm = event.comm
        return process

    def living_descendants(self, key: ProcessKey) -> tuple[ProcessKey, ...]:
        """All that live and were started by it or by what it started, dead links included."""
        found: list[ProcessKey] = []
        todo = [key]
        seen = {key}
        while todo:
            process = self._processes.get(todo.pop())
            if process is None:
                continue
            for child in process.children - seen:
                seen.add(child)
                todo.append(child)
                known = self._processes.get(child)
                if known is not None and not known.exited_ns:
                    found.append(child)
        return tuple(found)

    def ancestors(self, key: ProcessKey) -> tuple[Process, ...]:
        """Parent, grandparent, … as far as they are remembered."""
        out: list[Process] = []
        process = self._processes.get(key)
        while process is not None and len(out) < 64:
            process = self._processes.get(process.parent)
            if process is None or process in out:
                break
            out.append(process)
        return tuple(out)

    def living(self) -> tuple[Process, ...]:
        """All processes that have not ended."""
        return tuple(p for p in self._processes.values() if not p.exited_ns)

    def remembered(self) -> Iterator[Process]:
        """All for `adopt`, parents before their children; not the dead who left nobody."""
        for process in sorted(self._processes.values(), key=lambda one: one.key.started_ticks):
            if process.children or not process.exited_ns:
                yield process

    def adopt(self, process: Process) -> None:
        """Take in what another tree remembered, in its order, the actor included."""
        if process.key in self._processes:
            return
        process = replace(process, children=set())  # the other tree goes on with its own
        parent = self._processes.get(process.parent)
        if parent is not None:
            parent.children.add(process.key)
        self._processes[process.key] = process
        self._by_pid[process.key.pid] = process.key
        if process.exited_ns:
            self._dead.append(process.key)

    def _executed(self, event: ProcessExecuted) -> Process:
        process = self._processes.get(event.process)
        if process is None:
            process = self._add(event.process, event.parent)
        process.image = event.image
        process.filename = event.filename
        process.argv = event.argv
        process.argv_cut = event.argv_cut
        process.cwd = event.cwd
        process.comm = event.comm
        process.uid = event.uid
        process.gid = event.gid
        process.loginuid = event.loginuid
        process.device = event.device
        process.inode = event.inode
        process.link_count = event.link_count
        process.mode = event.mode
        process.image_uid = event.image_uid
        process.cgroup_id = event.cgroup_id
        process.mount_ns = event.mount_ns
        process.pid_ns = event.pid_ns
        process.net_ns = event.net_ns
        process.executed = True
        return process

    def _forked(self, event: ProcessForked) -> Process:
        process = self._processes.get(event.process)
        if process is not None:
            return process  # its exec came first, or the start-up scan did
        process = self._add(event.process, event.parent)
        parent = self._processes.get(event.parent)
        if parent is not None:
            _inherit(process, parent)
        process.comm = event.comm
        process.uid = event.uid
        process.cgroup_id = event.cgroup_id
        return process

    def _exited(self, event: ProcessExited) -> Process:
        process = self.get(event.process)
        if process.exited_ns == 0 and event.process in self._processes:
            process.exited_ns = event.at_ns
            self._dead.append(event.process)
            self._forget(event.at_ns)
        return process

    def _add(self, key: ProcessKey, parent_key: ProcessKey) -> Process:
        process = Process(key=key, parent=parent_key)
        parent = self._processes.get(parent_key)
        if parent is None or _is_boundary(parent):
            process.actor = key
        else:
            process.actor = parent.actor
        if parent is not None:
            parent.children.add(key)
        self._processes[key] = process
        self._by_pid[key.pid] = key
        return process

    def _forget(self, now_ns: int) -> None:
        while self._dead:
            key = self._dead[0]
            process = self._processes[key]
            if len(self._dead) <= MAX_DEAD and now_ns - process.exited_ns < REMEMBERED_NS:
                return
            self._dead.popleft()
            self._remove(process)

    def _remove(self, process: Process) -> None:
        # Its children hang on its parent from now on, so that the lineage holds.
        parent = self._processes.get(process.parent)
        for child_key in process.children:
            child = self._processes.get(child_key)
            if child is not None:
                child.parent = process.parent
        if parent is not None:
            parent.children.discard(process.key)
            parent.children |= process.children
        del self._processes[process.key]
        if self._by_pid.get(process.key.pid) == process.key:
            del self._by_pid[process.key.pid]


def _is_boundary(process: Process) -> bool:
    return process.key.pid in (1, 2) or process.image in BOUNDARIES


def _inherit(child: Process, parent: Process) -> None:
    """A fork runs its parent's image until it executes one of its own."""
    child.image = parent.image
    child.filename = parent.filename
    child.argv = parent.argv
    child.argv_cut = parent.argv_cut
    child.cwd = parent.cwd
    child.gid = parent.gid
    child.loginuid = parent.loginuid
    child.device = parent.device
    child.inode = parent.inode
    child.link_count = parent.link_count
    child.mode = parent.mode
    child.image_uid = parent.image_uid
    child.mount_ns = parent.mount_ns
    child.pid_ns = parent.pid_ns
    child.net_ns = parent.net_ns
