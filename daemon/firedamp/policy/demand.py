# SPDX-License-Identifier: Apache-2.0
"""What a condition demands, seen from a part of an event.

Everything here errs to one side: an event that meets the condition meets the demand.
"""

from collections.abc import Sequence

from firedamp.policy.ir import And, Comparison, Condition, Not, Or, Regex, SameAs, Text
from firedamp.policy.view import fold

_MIN_NEEDLE = 2


def demand_on(fields: tuple[str, str], condition: Condition) -> Condition | None:
    """What the condition demands of these fields alone; None where it demands nothing."""
    demand = _possible(fields, condition, positive=True)
    if demand is True:
        return None
    return Or(()) if demand is False else demand


def needles_in(haystack: str, condition: Condition) -> frozenset[str] | None:
    """Texts in lower case, one of which stands in this field if the condition is met.

    None where there are none such.
    """
    match condition:
        case Comparison(field, Text(parts)) if field == haystack:
            longest = max((one for one in parts if isinstance(one, str)), key=len, default="")
            return frozenset({fold(longest)}) if len(longest) >= _MIN_NEEDLE else None
        case Comparison(field, Regex(needles=needles)) if field == haystack:
            return needles or None
        case And(items):
            found = [one for one in (needles_in(haystack, item) for item in items) if one]
            return min(found, key=clumsiness) if found else None
        case Or(items):
            several = [needles_in(haystack, item) for item in items]
            if not several or None in several:
                return None
            return frozenset().union(*(one for one in several if one))
    return None


def clumsiness(needles: frozenset[str]) -> float:
    """About how often one of them stands in a text by chance: long ones are rare."""
    return sum(10.0 ** -len(needle) for needle in needles)


def _possible(fields: tuple[str, str], condition: Condition, *, positive: bool) -> Condition | bool:
    """The condition with all that is not known taken as what lets it be met."""
    match condition:
        case Comparison(field, value):
            known = field in fields and not isinstance(value, SameAs)
            return condition if known else positive
        case Not(item):
            inner = _possible(fields, item, positive=not positive)
            return not inner if isinstance(inner, bool) else Not(inner)
        case And(items):
            return _joined(fields, items, positive=positive, link=And)
        case Or(items):
            return _joined(fields, items, positive=positive, link=Or)


def _joined(
    fields: tuple[str, str],
    items: Sequence[Condition],
    *,
    positive: bool,
    link: type[And | Or],
) -> Condition | bool:
    decides = link is Or  # one true item settles an Or, one false item an And
    rest: list[Condition] = []
    for item in items:
        found = _possible(fields, item, positive=positive)
        if found is decides:
            return decides
        if not isinstance(found, bool):
            rest.append(found)
    if not rest:
        return not decides
    return rest[0] if len(rest) == 1 else link(tuple(rest))
