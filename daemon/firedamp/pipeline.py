# SPDX-License-Identifier: Apache-2.0
"""The pure middle in one piece: an event in, alerts out.

    event -> context (who is it?) -> analysis (what is it?) -> policy (Sigma) -> alerts

Live and replayed streams go through the same code; nothing here performs I/O or reads a clock.
"""

from collections.abc import Sequence

from firedamp.analysis.base import Analyser
from firedamp.context.host import HostContext
from firedamp.events.model import Event
from firedamp.policy.engine import Engine
from firedamp.policy.fields import views_of
from firedamp.policy.types import Alert

MAX_DEPTH = 4
"""Evidence may give rise to evidence, but no analyser may feed itself for ever."""


class Pipeline:
    """One host's memory, its analysers and the policies over both."""

    def __init__(self, host: HostContext, analysers: Sequence[Analyser], engine: Engine) -> None:
        self.host = host
        self.engine = engine
        self._analysers = analysers
        self._fed_by: dict[type[Event], tuple[Analyser, ...]] = {}

    def feed(self, event: Event, depth: int = 0) -> list[Alert]:
        """Take one event; give back the alerts that it completes, evidence's included."""
        observed = self.host.observe(event)
        kind = type(event)
        fed = self._fed_by.get(kind)
        if fed is None:
            fed = tuple(a for a in self._analysers if issubclass(kind, a.consumes))
            self._fed_by[kind] = fed
        alerts: list[Alert] = []
        for view in views_of(observed):
            alerts += self.engine.feed(view)
        if depth < MAX_DEPTH:
            for analyser in fed:
                for evidence in analyser.feed(observed):
                    alerts += self.feed(evidence, depth + 1)
        return alerts
