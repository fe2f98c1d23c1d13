# SPDX-License-Identifier: Apache-2.0
"""All sources as one stream, in the order in which things happened.

The rule that keeps it right: what can name a process only by its PID (fanotify, when the process
is gone) is read *before* the rings, and told *after* them, once they are empty, so that the process
tree has seen the fork and the exec of whoever did it.
"""

import time
from operator import attrgetter

from firedamp.events.decode import InodeDirtied
from firedamp.events.model import Event, ProcessKey, RecordsLost
from firedamp.sources.bpf.source import BpfSource
from firedamp.sources.cputimes import measure
from firedamp.sources.files import FileWatch
from firedamp.sources.inspect import Inspector

SAMPLES_WORTH_A_LOOK = 0.05
"""Share of one core, by samples, from which a process's own CPU time is read."""

MAX_WAITING = 10_000
"""Changes of files that wait for the rings to run empty; more are told without waiting."""

_at_ns = attrgetter("at_ns")


class Collector:
    """Reads the probes, the file watch and, now and then, the CPU times of who was busy."""

    def __init__(
        self, bpf: BpfSource, files: FileWatch | None, inspector: Inspector, cpu_hz: int
    ) -> None:
        self._bpf = bpf
        self._files = files
        self._inspector = inspector
        self._cpu_hz = cpu_hz
        self._measured_at = time.monotonic()
        self._changes: list[Event] = []
        if files is not None:
            files.on_change = bpf.watch_inodes
            bpf.watch_inodes(files.watched_inodes(), ())

    def filenos(self) -> tuple[int, ...]:
        """What to wait for."""
        return self._bpf.filenos() + (self._files.filenos() if self._files else ())

    def read(self) -> tuple[list[Event], bool]:
        """A batch, and whether more is waiting already."""
        changes = self._changes
        if self._files:
            changes += self._files.read()
        records, more = self._bpf.read()
        events: list[Event] = []
        for record in records:
            if isinstance(record, InodeDirtied):
                changes += self._stored(record)
            elif record.process.pid:  # what runs outside our PID namespace is not ours to judge
                events.append(record)
        if changes and not (more and len(changes) < MAX_WAITING):
            events += changes
            changes.clear()
            events.sort(key=_at_ns)
        if self._files is not None:
            more |= self._files.has_more
        return self.named(events), more

    def named(self, events: list[Event]) -> list[Event]:
        """The events, with the accounts and cgroups that they are the first to name put before."""
        return self._inspector.named(events)

    def busy(self) -> list[Event]:
        """The CPU times of the processes that samples have shown since the last call."""
        now = time.monotonic()
        elapsed, self._measured_at = now - self._measured_at, now
        enough = max(1.0, elapsed * self._cpu_hz * SAMPLES_WORTH_A_LOOK)
        wanted: dict[int, ProcessKey] = {
            key.pid: key for key, count in self._bpf.busy() if count >= enough
        }
        measured = measure(wanted)
        return [event for event in measured if event.process == wanted[event.process.pid]]

    def compared(self) -> list[Event]:
        """What differs in the watched places from what is remembered, and no hook told of."""
        return self.named(self._files.compare()) if self._files else []

    def losses(self) -> list[RecordsLost]:
        """What was lost since the last call, anywhere."""
        lost = self._bpf.losses(time.clock_gettime_ns(time.CLOCK_BOOTTIME))
        return lost + (self._files.losses() if self._files else [])

    def close(self) -> None:
        """Take every hook out."""
        self._bpf.close()
        self._inspector.close()
        if self._files is not None:
            self._files.close()

    def _stored(self, dirtied: InodeDirtied) -> list[Event]:
        if self._files is None:
            return []
        return self._files.wrote(dirtied.device, dirtied.inode, dirtied.process, dirtied.uid)
