# SPDX-License-Identifier: Apache-2.0
"""The pure middle in one piece: an event in, alerts out.

    event -> context (who is it?) -> analysis (what is it?) -> policy (Sigma) -> alerts

Live and replayed streams go through the same code; nothing here performs I/O or reads a clock.
"""

from collections.abc import Sequence
from typing import NamedTuple

from firedamp.analysis.base import Analyser
from firedamp.context.host import HostContext
from firedamp.events.model import Event
from firedamp.policy.engine import Engine
from firedamp.policy.fields import categories_of, views_of
from firedamp.policy.types import Alert

MAX_DEPTH = 4
"""Evidence may give rise to evidence, but no analyser may feed itself for ever."""


class Route(NamedTuple):
    """Who wants to see a class of events. Most forks and exits nobody does but the context."""

    analysers: tuple[Analyser, ...]
    is_judged: bool
    """Some policy is about a category that such events belong to."""


class Pipeline:
    """One host's memory, its analysers and the policies over both."""

    def __init__(self, host: HostContext, analysers: Sequence[Analyser], engine: Engine) -> None:
        self.host = host
        self.engine = engine
        self._analysers = analysers
        self._routes: dict[type[Event], Route] = {}

    def use(self, engine: Engine) -> None:
        """Judge by other policies from the next event on."""
        self.engine = engine
        self._routes.clear()

    def feed(self, event: Event, depth: int = 0) -> list[Alert]:
        """Take one event; give back the alerts that it completes, evidence's included."""
        observed = self.host.observe(event)
        route = self._routes.get(type(event)) or self._route(type(event))
        alerts: list[Alert] = []
        if route.is_judged:
            for view in views_of(observed):
                alerts += self.engine.feed(view)
        if depth < MAX_DEPTH:
            for analyser in route.analysers:
                for evidence in analyser.feed(observed):
                    alerts += self.feed(evidence, depth + 1)
        return alerts

    def _route(self, kind: type[Event]) -> Route:
        wanted = self.engine.compiled.categories
        route = Route(
            analysers=tuple(a for a in self._analysers if issubclass(kind, a.consumes)),
            is_judged=not wanted.isdisjoint(categories_of(kind)),
        )
        self._routes[kind] = route
        return route
