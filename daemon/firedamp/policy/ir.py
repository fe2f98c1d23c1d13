# SPDX-License-Identifier: Apache-2.0
"""Policies as the engine takes them: plain, frozen values that pickle.

The process that parses policies hands these to the process that runs them, so nothing here
may come from pySigma or pydantic. A `Condition` tree is what is left of a rule's `detection`
once identifiers, selectors, lists and modifiers are resolved.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

from firedamp.policy.types import ActionName, PolicySummary

Scalar = str | int | float | bool | None


class Wildcard(Enum):
    """What stands in a pattern for other text."""

    ANY = "*"
    """Any number of characters, none included."""
    ONE = "?"


# ---- what a value is compared with ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Text:
    """A pattern that must fit the whole value; letters of either case are the same."""

    parts: tuple[str | Wildcard, ...]
    """Literal text and wildcards in turn; no two literals beside each other, none empty. No
    parts at all: the empty string."""
    cased: bool = False
    """Letters of the other case are different."""


@dataclass(frozen=True, slots=True)
class Number:
    value: int | float


@dataclass(frozen=True, slots=True)
class Boolean:
    value: bool


@dataclass(frozen=True, slots=True)
class Null:
    """The event has no such field."""


@dataclass(frozen=True, slots=True)
class Exists:
    expected: bool


@dataclass(frozen=True, slots=True)
class Regex:
    """A regular expression that is found somewhere in the value, unless anchored."""

    pattern: str
    flags: frozenset[Literal["i", "m", "s"]] = frozenset()
    at_start: bool = False
    at_end: bool = False
    needles: frozenset[str] = frozenset()
    """In lower case; one of them stands in whatever it is found in. Empty: not known."""


@dataclass(frozen=True, slots=True)
class Network:
    """Addresses of a network, in CIDR form with the host bits zero."""

    cidr: str


Operator = Literal["lt", "lte", "gt", "gte", "eq", "neq"]


@dataclass(frozen=True, slots=True)
class Compare:
    operator: Operator
    value: int | float


@dataclass(frozen=True, slots=True)
class SameAs:
    """The value of another field of the same event; as text, letters of either case the same."""

    field: str
    at_start: bool = False
    """The other value need only begin this one."""
    at_end: bool = False


Value = Text | Number | Boolean | Null | Exists | Regex | Network | Compare | SameAs


# ---- conditions -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Comparison:
    """One field against one value."""

    field: str | None
    """None: a keyword, which is looked for in every field of the event."""
    value: Value


@dataclass(frozen=True, slots=True)
class And:
    items: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class Or:
    items: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class Not:
    item: "Condition"


Condition = Comparison | And | Or | Not


# ---- policies -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseEvent:
    """One event of a policy's own test."""

    category: str
    fields: tuple[tuple[str, Scalar | tuple[str, ...]], ...]
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A policy's own test."""

    name: str
    events: tuple[CaseEvent, ...]
    alert: bool
    response: tuple[ActionName, ...] | None
    """None: not compared."""
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What rules and correlations have in common."""

    summary: PolicySummary
    name: str = ""
    """By which correlations may refer to it, besides its id."""
    raises: bool = True
    """False: it is evidence for correlations and raises no alert of its own."""
    every_s: float = 60.0
    """At most one alert for an actor in this time; 0: no limit."""
    cases: tuple[Case, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule(Policy):
    """A Sigma rule, with the filters that apply to it worked into its condition."""

    category: str
    condition: Condition
    filters: tuple[str, ...] = ()
    """Ids of these filters."""


CorrelationKind = Literal["event_count", "value_count", "temporal", "temporal_ordered"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A policy that a correlation refers to."""

    policy_id: str
    group_by: tuple[str, ...]
    """Fields of its events that make the group, with aliases resolved."""


@dataclass(frozen=True, slots=True)
class Seen:
    """In a correlation's extended condition: the member at this index has matched."""

    member: int


@dataclass(frozen=True, slots=True)
class AllSeen:
    items: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class AnySeen:
    items: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class NotSeen:
    item: "Expression"


Expression = Seen | AllSeen | AnySeen | NotSeen


@dataclass(frozen=True, slots=True, kw_only=True)
class Correlation(Policy):
    """A Sigma correlation. Its members stand before it in the policy set."""

    kind: CorrelationKind
    members: tuple[Member, ...]
    timespan_ns: int
    thresholds: tuple[Compare, ...]
    """All must hold for the count."""
    expression: Expression | None = None
    """For temporal: instead of the thresholds."""
    values: tuple[str, ...] = ()
    """For value_count: the fields whose distinct values are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inapplicable:
    """A policy that is sound but cannot apply on this host or to what we see, and why."""

    id: str
    title: str
    path: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySet:
    """Everything that is loaded together. Pickles; compare by `digest`."""

    rules: tuple[Rule, ...] = ()
    correlations: tuple[Correlation, ...] = ()
    """A correlation that refers to another stands after it."""
    inapplicable: tuple[Inapplicable, ...] = field(default=())
    digest: str = ""
    """Of the content of all files; names the set in alerts and reports."""
