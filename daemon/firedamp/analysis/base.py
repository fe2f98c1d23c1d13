# SPDX-License-Identifier: Apache-2.0
"""What an analyser is: a stateful fold over events that yields evidence.

Evidence is more events, or fields that a policy can ask an event for; a policy decides what
it is worth. An analyser never reads a clock, a file or a socket: time is the event's own
`at_ns`, so a recorded stream gives the same evidence on every run.

Two kinds, both listed in `analysis.registry`:

- an `Analyser` keeps (bounded) state and yields events of categories of their own;
- a *derived field* is a plain function from an `Observed` to a value, worked out only when a
  policy asks for it: `ImageOrigin`, `Masquerade`, …
"""

from collections.abc import Callable, Iterable
from typing import ClassVar, Protocol

from firedamp.context.process import Observed
from firedamp.events.model import Event

FieldValue = str | int | float | bool | None | tuple[str, ...]
"""What a policy can compare. None: the event has no such field. A tuple matches where any
of its members does."""

DerivedField = Callable[[Observed], FieldValue]


class Analyser(Protocol):
    """Folds events into evidence."""

    consumes: ClassVar[tuple[type[Event], ...]]
    """Event classes it is fed; subclasses of these are fed too."""

    def feed(self, observed: Observed) -> Iterable[Event]:
        """Take one event; yield the evidence that it gives rise to, in order."""
