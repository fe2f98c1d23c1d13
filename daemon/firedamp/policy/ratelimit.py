# SPDX-License-Identifier: Apache-2.0
"""One alert where many would say the same, without letting the next miner of a family pass.

A policy raises one alert for an actor in its `every`. If it has a response, what the response
would act on counts too: a process, address or file that was not in an alert yet raises another,
up to a burst.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from firedamp.events.model import ProcessKey
from firedamp.policy.ir import Policy

BURST: Final = 16
MAX_REMEMBERED: Final = 4_096

_NS_PER_S: Final = 1_000_000_000

Subject = tuple[object, ...]


@dataclass(slots=True)
class _Window:
    started_ns: int
    subjects: set[Subject] = field(default_factory=set)
    suppressed: int = 0


class RateLimit:
    """Remembers what was raised."""

    def __init__(self) -> None:
        self.suppressed = 0
        """Alerts that were not raised, in all."""
        self._windows: OrderedDict[tuple[str, ProcessKey], _Window] = OrderedDict()

    def admit(
        self, policy: Policy, actor: ProcessKey, subject: Subject, *, at_ns: int
    ) -> int | None:
        """How many were held back since the last alert like this one; None: hold this back."""
        every_ns = round(policy.every_s * _NS_PER_S)
        if not every_ns:
            return 0
        key = (policy.summary.id, actor)
        window = self._windows.get(key)
        if window is None or at_ns - window.started_ns >= every_ns:
            held = window.suppressed if window else 0
            self._windows[key] = _Window(at_ns, {subject})
            self._windows.move_to_end(key)
            if len(self._windows) > MAX_REMEMBERED:
                self._windows.popitem(last=False)
            return held
        burst = BURST if policy.summary.response else 1
        if subject in window.subjects or len(window.subjects) >= burst:
            window.suppressed += 1
            self.suppressed += 1
            return None
        window.subjects.add(subject)
        held, window.suppressed = window.suppressed, 0
        return held
