# SPDX-License-Identifier: Apache-2.0
"""Sigma correlations over the matches of other policies.

Rules:

1. Time is that of events. Matches may come late and twice: each takes its place in order of
   time, and one that is the same event again is not counted again.
2. The window always ends with the newest match of the group; the condition is judged whenever a
   match arrives. (So `lt` and `lte` alone hold from the first match on.)
3. Once met, a group stays silent for the timespan, unless evidence of a new kind joins; and,
   where the policy has a response, unless a process joins that was not named before, at most
   once in the policy's `every`.
4. Memory is bounded by the limits below. What is evicted within its timespan is counted.
"""

from bisect import insort
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from firedamp.policy.ir import (
    AllSeen,
    AnySeen,
    Correlation,
    Expression,
    NotSeen,
    Seen,
)
from firedamp.policy.matchers import compare_predicate
from firedamp.policy.types import Evidence
from firedamp.policy.view import FieldView

MAX_THRESHOLD: Final = 5_000
MAX_GROUPS: Final = 2_048
MAX_MATCHES: Final = 10_000
"""Of all groups of one correlation together: some 5 MiB."""
MAX_PER_MEMBER: Final = 16
"""Of one kind in a group of a temporal correlation; the newest are kept."""
MAX_EVIDENCE: Final = 32
"""That an alert carries, the newest."""

_NS_PER_S: Final = 1_000_000_000

Group = tuple[object, ...]


class _Match(NamedTuple):
    at_ns: int
    member: int
    fingerprint: int
    value: Group
    """For value_count: what is counted."""
    evidence: tuple[Evidence, ...]


@dataclass(slots=True)
class _State:
    matches: list[_Match] = field(default_factory=list)
    """In order of time."""
    fired_ns: int | None = None
    kinds: frozenset[int] = frozenset()
    """Members that had matched when it last fired."""
    named: frozenset[object] = frozenset()
    """Processes that have been named in alerts."""


class Correlator:
    """One correlation's memory."""

    def __init__(self, correlation: Correlation) -> None:
        self.correlation = correlation
        self.evicted = 0
        self._groups: OrderedDict[Group, _State] = OrderedDict()
        self._total = 0
        self._span = correlation.timespan_ns
        self._every_ns = round(correlation.every_s * _NS_PER_S)
        self._limit = max((int(one.value) for one in correlation.thresholds), default=0) + 1
        self._thresholds = [
            compare_predicate(one.operator, one.value) for one in correlation.thresholds
        ]
        self._is_met = self._conditions()[correlation.kind]

    def __len__(self) -> int:
        """How many matches are remembered."""
        return self._total

    def feed(
        self, member: int, view: FieldView, evidence: tuple[Evidence, ...]
    ) -> tuple[Evidence, ...]:
        """Take a match of a member; the evidence that it completes, oldest first, or nothing."""
        group = _values(view, self.correlation.members[member].group_by)
        value = _values(view, self.correlation.values)
        if group is None or value is None:
            return ()
        event = view.observed.event
        match = _Match(event.at_ns, member, hash((member, view.category, event)), value, evidence)
        state = self._state(group, match.at_ns)
        if not self._add(state, match):
            return ()
        self._evict(state, match.at_ns)
        if not self._is_met(state) or not self._may_fire(state, match):
            return ()
        return self._fire(state, match)

    def _state(self, group: Group, now_ns: int) -> _State:
        state = self._groups.get(group)
        if state is None:
            state = self._groups[group] = _State()
        self._groups.move_to_end(group)
        return state

    def _add(self, state: _State, match: _Match) -> bool:
        """Put the match in its place; False if it is known already, or too late to matter."""
        matches = state.matches
        if matches and match.at_ns < matches[-1].at_ns - self._span:
            return False
        before = len(matches)
        if _is_known(matches, match):
            return False
        if self.correlation.kind == "value_count" and not _forget_older(matches, match):
            return False
        insort(matches, match, key=lambda one: one.at_ns)
        oldest = matches[-1].at_ns - self._span
        gone = next(i for i, one in enumerate(matches) if one.at_ns >= oldest)
        del matches[:gone]
        self._bound(matches, match.member)
        self._total += len(matches) - before
        return True

    def _bound(self, matches: list[_Match], member: int) -> None:
        if self.correlation.kind in {"event_count", "value_count"}:
            del matches[: max(0, len(matches) - self._limit)]
            if len(matches) > MAX_EVIDENCE:
                # Its evidence would not be shown; that it happened is enough.
                index = len(matches) - MAX_EVIDENCE - 1
                matches[index] = matches[index]._replace(evidence=())
            return
        own = [i for i, one in enumerate(matches) if one.member == member]
        for index in reversed(own[:-MAX_PER_MEMBER]):
            del matches[index]

    def _evict(self, current: _State, now_ns: int) -> None:
        """Drop groups that have gone quiet, and, over the limits, those quiet for longest."""
        while len(self._groups) > 1:
            group, state = next(iter(self._groups.items()))
            if state is current:
                return
            is_stale = not state.matches or state.matches[-1].at_ns < now_ns - self._span
            if not is_stale and len(self._groups) <= MAX_GROUPS and self._total <= MAX_MATCHES:
                return
            del self._groups[group]
            self._total -= len(state.matches)
            self.evicted += not is_stale

    def _may_fire(self, state: _State, match: _Match) -> bool:
        if state.fired_ns is None or match.at_ns - state.fired_ns >= self._span:
            return True
        if {one.member for one in state.matches} - state.kinds:
            return True
        if not self.correlation.summary.response or not match.evidence:
            return False
        is_new = any(one.process not in state.named for one in match.evidence)
        return is_new and match.at_ns - state.fired_ns >= self._every_ns

    def _fire(self, state: _State, match: _Match) -> tuple[Evidence, ...]:
        state.fired_ns = max(match.at_ns, state.fired_ns or 0)
        state.kinds = frozenset(one.member for one in state.matches)
        unique = dict.fromkeys(one for match in state.matches for one in match.evidence)
        evidence = tuple(sorted(unique, key=lambda one: one.at_ns))[-MAX_EVIDENCE:]
        state.named = frozenset(one.process for one in evidence)
        return evidence

    def _conditions(self) -> dict[str, Callable[[_State], bool]]:
        return {
            "event_count": lambda state: self._fits(len(state.matches)),
            "value_count": lambda state: self._fits(len(state.matches)),
            "temporal": self._together,
            "temporal_ordered": self._in_order,
        }

    def _fits(self, count: int) -> bool:
        return all(holds(count) for holds in self._thresholds)

    def _together(self, state: _State) -> bool:
        seen = {one.member for one in state.matches}
        expression = self.correlation.expression
        return _holds(expression, seen) if expression else self._fits(len(seen))

    def _in_order(self, state: _State) -> bool:
        """Some match of each member, none before that of the member before it."""
        wanted = 0
        for at_ns in sorted({one.at_ns for one in state.matches}):
            now = {one.member for one in state.matches if one.at_ns == at_ns}
            while wanted in now:
                wanted += 1
        return wanted == len(self.correlation.members)


def _is_known(matches: list[_Match], match: _Match) -> bool:
    for one in reversed(matches):
        if one.at_ns < match.at_ns:
            return False
        if one.fingerprint == match.fingerprint:
            return True
    return False


def _forget_older(matches: list[_Match], match: _Match) -> bool:
    """Of equal values the newest counts; False if that is another."""
    for index, one in enumerate(matches):
        if one.value == match.value:
            if one.at_ns > match.at_ns:
                return False
            del matches[index]
            return True
    return True


def _values(view: FieldView, names: tuple[str, ...]) -> Group | None:
    """The fields' values; None where one is absent, for then the event is in no group."""
    values = tuple([view[name] for name in names])
    return None if None in values else values


def _holds(expression: Expression, seen: set[int]) -> bool:
    match expression:
        case Seen(member):
            return member in seen
        case NotSeen(item):
            return not _holds(item, seen)
        case AllSeen(items):
            return all(_each(items, seen))
        case AnySeen(items):
            return any(_each(items, seen))


def _each(items: tuple[Expression, ...], seen: set[int]) -> Iterator[bool]:
    for item in items:
        yield _holds(item, seen)
