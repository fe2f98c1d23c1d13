# SPDX-License-Identifier: Apache-2.0
"""CPU use that lasts.

A measurement says how much CPU time a process has used since it started. A process is reported
when it kept the configured number of cores busy over the whole window: on average over every
part of it, so that a burst that is long enough to lift the mean is not enough. It is reported
again after each further window.

Blind spots: use that is held below the threshold, that pauses, or that is spread over many
processes. Compilers, encoders and databases do the same as a miner here: this is evidence, and
no more.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from firedamp.context.process import Observed
from firedamp.events.model import CpuMeasured, CpuSustained, Event, ProcessExited, ProcessKey

PROCESSES = 4_096
"""Busy processes that are followed at a time; some 1 MiB. The one measured longest ago goes."""
PARTS = 6
"""Into which a window is divided. Shorter parts would mistake the scheduler's jitter, and the
turns that processes take on a crowded machine, for pauses."""
NS_PER_S = 1_000_000_000
GAP_NS = 5 * NS_PER_S
"""Only busy processes are measured: who was not for this long, or for two parts, paused."""


@dataclass(slots=True)
class _Use:
    """CPU time when the window began, and when its current part did."""

    began_ns: int
    began_cpu_ns: int
    part_ns: int
    part_cpu_ns: int


class SustainedCpu:
    """Folds measurements into `CpuSustained`."""

    consumes: ClassVar[tuple[type[Event], ...]] = (CpuMeasured, ProcessExited)

    def __init__(self, *, window_s: int, cores: float, processes: int = PROCESSES) -> None:
        self.evicted = 0
        self._window_s = window_s
        self._window_ns = window_s * NS_PER_S
        self._part_ns = self._window_ns // PARTS
        self._gap_ns = max(2 * self._part_ns, GAP_NS)
        self._cores = cores
        self._processes = processes
        self._uses: OrderedDict[ProcessKey, _Use] = OrderedDict()

    def __len__(self) -> int:
        return len(self._uses)

    def feed(self, observed: Observed) -> Iterator[CpuSustained]:
        event = observed.event
        if isinstance(event, ProcessExited):
            self._uses.pop(event.process, None)
        elif isinstance(event, CpuMeasured):
            sustained = self._measured(event)
            if sustained is not None:
                yield sustained

    def _measured(self, event: CpuMeasured) -> CpuSustained | None:
        use = self._uses.get(event.process)
        if use is None or event.at_ns < use.part_ns or event.cpu_ns < use.part_cpu_ns:
            self._begin(event)
            return None
        self._uses.move_to_end(event.process)
        elapsed = event.at_ns - use.part_ns
        if elapsed < self._part_ns:
            return None
        is_busy = event.cpu_ns - use.part_cpu_ns >= self._cores * elapsed
        if elapsed > self._gap_ns or not is_busy:
            self._begin(event)
            return None
        use.part_ns, use.part_cpu_ns = event.at_ns, event.cpu_ns
        if event.at_ns - use.began_ns < self._window_ns:
            return None
        self._begin(event)
        return self._sustained(event, use)

    def _begin(self, event: CpuMeasured) -> None:
        self._uses[event.process] = _Use(event.at_ns, event.cpu_ns, event.at_ns, event.cpu_ns)
        self._uses.move_to_end(event.process)
        if len(self._uses) > self._processes:
            self._uses.popitem(last=False)
            self.evicted += 1

    def _sustained(self, event: CpuMeasured, use: _Use) -> CpuSustained:
        cores = (event.cpu_ns - use.began_cpu_ns) / (event.at_ns - use.began_ns)
        return CpuSustained(
            at_ns=event.at_ns,
            process=event.process,
            cores=round(cores, 2),
            window_s=self._window_s,
            threads=event.threads,
        )
