# SPDX-License-Identifier: Apache-2.0
"""A recorded stream through the pipeline: the alerts that the daemon gave, or would give.

Nothing is asked of the host and nothing is done to it. The same recording and the same policies
give the same alerts, with two limits: of what came before a recording, only processes, sockets
and names are known, not what correlations had joined by then; and a policy about a secret finds
it masked.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from firedamp.alerts.ecs import Origin
from firedamp.analysis.registry import analysers
from firedamp.compile_child import load, policy_places, read_lists
from firedamp.context.host import HostContext
from firedamp.context.indicators import Indicators
from firedamp.context.process import Process
from firedamp.context.snapshot import adopt
from firedamp.errors import FiredampError
from firedamp.events.model import Event, ProcessKey, RecordsLost
from firedamp.pipeline import Pipeline
from firedamp.policy.compile import CompiledPolicies, compile_policies
from firedamp.policy.decide import decide
from firedamp.policy.engine import Engine
from firedamp.policy.load import load_policies
from firedamp.policy.respawn import Respawners
from firedamp.policy.types import Alert, Decision
from firedamp.settings import Settings
from firedamp.sources.recorded import Item, Remembered
from firedamp.sources.recording import Header

_NOWHERE: Final = Origin(host_name="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a stream is judged by."""

    policies: CompiledPolicies
    indicators: Indicators
    settings: Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An alert, and what would be done about it."""

    alert: Alert
    process: Process
    decision: Decision | None
    """Always in the mode observe: nothing is done here."""
    kills: tuple[ProcessKey, ...]
    """Processes that would be killed if the daemon enforced; guards could still say no."""
    origin: Origin


def rules(settings: Settings, directory: Path | None) -> Rules:
    """Read policies and indicators in this process.

    Args:
        settings: name the policies, where no directory is given.
        directory: is taken as a whole and alone: the policies, filters and indicators in it.

    Raises:
        PolicyError: they are not sound.
    """
    if directory is not None:
        chosen = replace(settings.policies, directories=(str(directory.absolute()),))
        settings = replace(settings, policies=chosen)
        loaded = load_policies(policy_places(settings))
    else:
        loaded = load(settings)
    indicators, _ = read_lists(settings)
    policies = compile_policies(loaded.policies)
    return Rules(policies=policies, indicators=indicators, settings=settings)


class Replay:
    """One recording, judged by one set of rules."""

    def __init__(self, judged_by: Rules) -> None:
        self._rules = judged_by
        # As if it enforced, to learn which policies may act.
        self._enforcing = replace(judged_by.settings, mode="enforce")
        self._pipeline: Pipeline
        self._respawners: Respawners
        self._begin(None)
        self.events = 0
        self.lost = 0
        """Records that the daemon had lost when this was recorded."""
        self.not_judged = 0
        """Events that no sense could be made of."""
        self.origin = _NOWHERE

    def take(self, item: Item) -> list[Told]:
        """Take in what comes next; give back the alerts that it completes."""
        if isinstance(item, Event):
            return self._event(item)
        if isinstance(item, Remembered):
            adopt(self._pipeline.host, item.what)
        else:
            self._begin(item)
        return []

    def image_of(self, key: ProcessKey) -> str:
        """What a process runs."""
        return self._pipeline.host.tree.get(key).image

    def _event(self, event: Event) -> list[Told]:
        self.events += 1
        if isinstance(event, RecordsLost):
            self.lost += event.count
        try:
            return [self._told(alert) for alert in self._pipeline.feed(event)]
        except (FiredampError, ValueError, ArithmeticError, LookupError, TypeError):
            self.not_judged += 1  # as the daemon does: one event must not end the rest
            return []

    def _told(self, alert: Alert) -> Told:
        host = self._pipeline.host
        decision = decide(alert, self._enforcing, host)
        kills: tuple[ProcessKey, ...] = ()
        if decision is not None:
            decision = self._respawners.extend(decision, host)
            if decision.mode == "enforce" and "kill" in decision.actions:
                kills = (decision.target, *decision.related)
            decision = replace(decision, mode="observe")
        return Told(
            alert=alert,
            process=replace(host.tree.get(alert.process)),  # as it is now
            decision=decision,
            kills=kills,
            origin=self.origin,
        )

    def _begin(self, header: Header | None) -> None:
        """Forget all: another recording, which knows its own host."""
        settings = self._rules.settings
        if header is not None:
            sources = replace(
                settings.sources,
                cpu_window_s=min(max(header.cpu_window_s, 2), 3600),
                cpu_cores=min(max(header.cpu_cores, 0.01), 4096.0),
            )
            settings = replace(settings, sources=sources)
            self.origin = Origin(
                host_name=header.host_name,
                host_id=header.host_id,
                clock_offset_ns=header.clock_offset_ns,
            )
        self._pipeline = Pipeline(
            HostContext(self._rules.indicators),
            analysers(settings),
            Engine(self._rules.policies, boot_id=header.boot_id if header else ""),
        )
        self._respawners = Respawners()


AlertKey = tuple[str, ProcessKey, int, str, str]


@dataclass(slots=True)
class Difference:
    """What two sets of rules say about one recording."""

    appear: list[Told] = field(default_factory=list)
    vanish: list[Told] = field(default_factory=list)
    stay: int = 0
    killed_by_old: dict[ProcessKey, str] = field(default_factory=dict)
    """Processes that would be killed by the old rules alone, and what they ran."""
    killed_by_new: dict[ProcessKey, str] = field(default_factory=dict)
    killed_by_both: dict[ProcessKey, str] = field(default_factory=dict)


def compare(items: Iterable[Item], old: Replay, new: Replay) -> Difference:
    """Judge a recording by both."""
    told_old: list[Told] = []
    told_new: list[Told] = []
    killed_old: dict[ProcessKey, str] = {}
    killed_new: dict[ProcessKey, str] = {}
    for item in items:
        by_old, by_new = old.take(item), new.take(item)
        told_old += by_old
        told_new += by_new
        killed_old.update(_killed(by_old, old))
        killed_new.update(_killed(by_new, new))
    old_keys, new_keys = set(map(_key, told_old)), set(map(_key, told_new))
    return Difference(
        appear=[one for one in told_new if _key(one) not in old_keys],
        vanish=[one for one in told_old if _key(one) not in new_keys],
        stay=sum(_key(one) in old_keys for one in told_new),
        killed_by_old={k: v for k, v in killed_old.items() if k not in killed_new},
        killed_by_new={k: v for k, v in killed_new.items() if k not in killed_old},
        killed_by_both={k: v for k, v in killed_new.items() if k in killed_old},
    )


def _killed(told: Iterable[Told], replay: Replay) -> Iterator[tuple[ProcessKey, str]]:
    for one in told:
        for key in one.kills:
            yield key, replay.image_of(key)


def _key(told: Told) -> AlertKey:
    alert = told.alert
    return alert.policy.id, alert.process, alert.at_ns, alert.category, alert.incident
