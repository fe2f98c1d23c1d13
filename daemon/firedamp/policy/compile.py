# SPDX-License-Identifier: Apache-2.0
"""A policy set as fast matchers: for each category, the rules that an event may match.

Conditions are evaluated with the cheap parts first and comparisons of one field with many
texts taken together; the order of evaluation cannot be seen from outside.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from firedamp.errors import PolicyError
from firedamp.policy.demand import demand_on
from firedamp.policy.ir import (
    And,
    Comparison,
    Condition,
    Correlation,
    Inapplicable,
    Not,
    Or,
    PolicySet,
    Regex,
    Rule,
    Text,
)
from firedamp.policy.matchers import Matcher, single, text_group
from firedamp.policy.shortlist import Shortlist, entry_of, keys_of
from firedamp.policy.view import FieldView


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule that can be asked whether an event matches."""

    rule: Rule
    matches: Matcher


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledPolicies:
    """A policy set that is ready to run. Shared by nobody: it remembers what it works out."""

    by_category: Mapping[str, tuple[CompiledRule, ...]]
    shortlists: Mapping[str, Shortlist[CompiledRule]]
    correlations: tuple[Correlation, ...] = ()
    inapplicable: tuple[Inapplicable, ...] = ()
    digest: str = field(default="")

    def __len__(self) -> int:
        """How many policies there are, those that cannot apply here left out."""
        return sum(map(len, self.by_category.values())) + len(self.correlations)

    @property
    def categories(self) -> frozenset[str]:
        """Events of other categories match nothing and need not be asked about."""
        return frozenset(self.by_category)


def compile_policies(policies: PolicySet) -> CompiledPolicies:
    """Make a policy set ready to run.

    Raises:
        PolicyError: a value cannot be compared with; sets that were loaded have none such.
    """
    by_category: dict[str, list[CompiledRule]] = {}
    for rule in policies.rules:
        compiled = CompiledRule(rule, compile_condition(rule.condition))
        by_category.setdefault(rule.category, []).append(compiled)
    return CompiledPolicies(
        by_category={name: tuple(rules) for name, rules in by_category.items()},
        shortlists={name: _shortlist(name, rules) for name, rules in by_category.items()},
        correlations=policies.correlations,
        inapplicable=policies.inapplicable,
        digest=policies.digest,
    )


def _shortlist(category: str, rules: Iterable[CompiledRule]) -> Shortlist[CompiledRule]:
    keys = keys_of(category)
    entries = []
    for one in rules:
        condition = one.rule.condition
        demand = demand_on(keys.fields, condition)
        matcher = compile_condition(demand) if demand else None
        entries.append(entry_of(keys, one, condition, matcher))
    return Shortlist(keys, entries)


def compile_condition(condition: Condition) -> Matcher:
    """A function that says whether an event meets the condition.

    Raises:
        PolicyError: a value cannot be compared with.
    """
    match condition:
        case Comparison():
            return single(condition)
        case Not(item):
            return _negation(compile_condition(item))
        case And(items):
            return _all(_matchers(sorted(_flat(And, items), key=_cost)))
        case Or(items):
            return _any([*_grouped(sorted(_flat(Or, items), key=_cost))])
    raise PolicyError(f"not a condition: {condition!r}")


def _flat(kind: type[And | Or], items: Iterable[Condition]) -> Iterable[Condition]:
    for item in items:
        if isinstance(item, kind):
            yield from _flat(kind, item.items)
        else:
            yield item


def _matchers(items: Iterable[Condition]) -> list[Matcher]:
    return [compile_condition(item) for item in items]


def _grouped(items: Iterable[Condition]) -> Iterable[Matcher]:
    """Matchers of alternatives; texts that one field is compared with are taken together."""
    groups: dict[tuple[str | None, bool], list[Text]] = {}
    rest: list[Condition] = []
    for item in items:
        if isinstance(item, Comparison) and isinstance(item.value, Text):
            groups.setdefault((item.field, item.value.cased), []).append(item.value)
        else:
            rest.append(item)
    for (name, _), patterns in groups.items():
        yield text_group(name, patterns)
    yield from _matchers(rest)


def _cost(condition: Condition) -> int:
    """A rough order by what it takes to evaluate."""
    match condition:
        case Comparison(None, _):
            return 50
        case Comparison(_, Regex()):
            return 10
        case Comparison(_, Text(parts)):
            return min(1 + len(parts), 8)
        case Comparison():
            return 1
        case Not(item):
            return _cost(item)
        case And(items) | Or(items):
            return 2 + sum(_cost(item) for item in items) // 4
    return 0


def _negation(matcher: Matcher) -> Matcher:
    return lambda view: not matcher(view)


def _all(matchers: list[Matcher]) -> Matcher:
    if not matchers:
        return lambda _view: True
    if len(matchers) == 1:
        return matchers[0]
    if len(matchers) == 2:
        first, second = matchers
        return lambda view: first(view) and second(view)
    lead, *others = matchers

    def all_of(view: FieldView) -> bool:
        if not lead(view):
            return False
        for matcher in others:  # noqa: SIM110 - all() would cost a generator
            if not matcher(view):
                return False
        return True

    return all_of


def _any(matchers: list[Matcher]) -> Matcher:
    if len(matchers) == 1:
        return matchers[0]
    if len(matchers) == 2:
        first, second = matchers
        return lambda view: first(view) or second(view)

    def any_of(view: FieldView) -> bool:
        for matcher in matchers:  # noqa: SIM110 - any() would cost a generator
            if matcher(view):
                return True
        return False

    return any_of
