# SPDX-License-Identifier: Apache-2.0
"""Which rules of a category can match an event at all, found out for all of them together.

Two observations make that cheap:

- On a server the same programs run over and over. Each rule is reduced to what it demands of
  two *key fields* alone, everything else taken as possible; for each combination of their
  values the rules that remain are worked out once and remembered.
- Most of these demand that some text stands in one long field, the command line. These texts,
  the *needles*, are looked for once each, for all rules together.

Both are only ever too generous: a rule that is left out could not have matched.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from firedamp.analysis.base import FieldValue
from firedamp.policy.demand import needles_in
from firedamp.policy.ir import Condition
from firedamp.policy.matchers import Matcher
from firedamp.policy.view import FOLDED, FieldView

MAX_REMEMBERED: Final = 4_096

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Keys:
    """How the rules of a category are told apart."""

    fields: tuple[str, str]
    haystack: str
    """The field in which needles are looked for; empty: none."""


KEYS: Final[Mapping[str, Keys]] = {
    "process_creation": Keys(("Image", "ParentImage"), "CommandLine"),
    "network_connection": Keys(("Image", "DestinationPort"), ""),
    "dns_query": Keys(("Image", "QueryType"), "QueryName"),
    "mining_protocol": Keys(("Protocol", "Method"), ""),
    "file_event": Keys(("Place", "Operation"), "TargetFilename"),
}
_DEFAULT: Final = Keys(("Image", "ProcessName"), "")


def keys_of(category: str) -> Keys:
    """How the rules of this category are told apart."""
    return KEYS.get(category, _DEFAULT)


@dataclass(frozen=True, slots=True)
class Entry(Generic[R]):
    """A rule, and what can be said of it without evaluating it."""

    rule: R
    demand: Matcher | None
    """What it demands of the key fields; None: nothing."""
    needles: frozenset[str]
    """In lower case; one of them stands in the haystack if the rule matches. Empty: not known."""


@dataclass(frozen=True, slots=True)
class _Remaining(Generic[R]):
    """The rules that remain for certain key fields."""

    all: tuple[R, ...]
    always: tuple[R, ...]
    """Those without needles."""
    needles: tuple[str, ...]
    by_needle: Mapping[str, frozenset[int]]
    """Indices in `all` of the rules that the needle is for."""


class Shortlist(Generic[R]):
    """Finds the rules of one category that an event may match."""

    def __init__(self, keys: Keys, entries: Sequence[Entry[R]]) -> None:
        self._first, self._second = keys.fields
        self._haystack = FOLDED + keys.haystack
        self._entries = entries
        self._remembered: dict[tuple[FieldValue, FieldValue], _Remaining[R]] = {}
        self._equal: dict[tuple[int, ...], _Remaining[R]] = {}

    def __len__(self) -> int:
        """How many combinations are remembered."""
        return len(self._remembered)

    def of(self, view: FieldView) -> tuple[R, ...]:
        """The rules that the event may match, in their order."""
        key = (view[self._first], view[self._second])
        remaining = self._remembered.get(key)
        if remaining is None:
            remaining = self._remember(key, view)
        if not remaining.needles:
            return remaining.always
        text = view[self._haystack]
        if type(text) is not str:
            return remaining.always if text is None else remaining.all
        hits = [one for one in remaining.needles if one in text]
        return _chosen(remaining, hits) if hits else remaining.always

    def _remember(self, key: tuple[FieldValue, FieldValue], view: FieldView) -> _Remaining[R]:
        if len(self._remembered) >= MAX_REMEMBERED:
            # Who makes up names all the time pays with his own CPU time; what repeats is soon
            # remembered again.
            self._remembered.clear()
            self._equal.clear()
        chosen = tuple(
            [i for i, one in enumerate(self._entries) if not one.demand or one.demand(view)]
        )
        remaining = self._equal.get(chosen)
        if remaining is None:
            entries = [self._entries[i] for i in chosen]
            remaining = self._equal[chosen] = _remaining(entries)
        self._remembered[key] = remaining
        return remaining


def _remaining(entries: Sequence[Entry[R]]) -> _Remaining[R]:
    by_needle: dict[str, set[int]] = {}
    for index, entry in enumerate(entries):
        for needle in entry.needles:
            by_needle.setdefault(needle, set()).add(index)
    return _Remaining(
        all=tuple(one.rule for one in entries),
        always=tuple(one.rule for one in entries if not one.needles),
        needles=tuple(by_needle),
        by_needle={needle: frozenset(found) for needle, found in by_needle.items()},
    )


def _chosen(remaining: _Remaining[R], hits: Sequence[str]) -> tuple[R, ...]:
    found: set[int] = set()
    for needle in hits:
        found |= remaining.by_needle[needle]
    # Those without needles come first: order among rules means nothing but to be the same.
    return (*remaining.always, *[remaining.all[index] for index in sorted(found)])


def entry_of(keys: Keys, rule: R, condition: Condition, demand: Matcher | None) -> Entry[R]:
    """What can be said of a rule without evaluating it."""
    needles = needles_in(keys.haystack, condition) if keys.haystack else None
    return Entry(rule, demand, needles or frozenset())
