# SPDX-License-Identifier: Apache-2.0
"""Why a rule matches an event or does not: its condition as a tree, with what each part saw."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from firedamp.analysis.base import FieldValue
from firedamp.policy.compile import compile_condition
from firedamp.policy.ir import (
    And,
    Boolean,
    Compare,
    Comparison,
    Condition,
    Exists,
    Network,
    Not,
    Null,
    Number,
    Or,
    Regex,
    SameAs,
    Text,
    Value,
)
from firedamp.policy.view import FieldView

MAX_SHOWN: Final = 5
"""Of alternatives that all fail: lists of hundreds are common."""
_SIGNS: Final = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">=", "eq": "=", "neq": "!="}
_INDENT: Final = "  "


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One part of a condition."""

    holds: bool
    text: str
    """What it asks for."""
    saw: str = ""
    """The value that a comparison found; empty for what joins others."""
    parts: tuple["Finding", ...] = ()


def explain(condition: Condition, view: FieldView) -> Finding:
    """What each part of a condition says of an event."""
    match condition:
        case And(items):
            parts = tuple(explain(one, view) for one in items)
            return Finding(holds=all(one.holds for one in parts), text="all of", parts=parts)
        case Or(items):
            parts = tuple(explain(one, view) for one in items)
            return Finding(holds=any(one.holds for one in parts), text="any of", parts=parts)
        case Not(item):
            part = explain(item, view)
            return Finding(holds=not part.holds, text="not", parts=(part,))
        case Comparison(field, value):
            return Finding(
                holds=compile_condition(condition)(view),
                text=f"{field or 'any field'} {value_text(value)}",
                saw="" if field is None else _shown(view[field]),
            )


def lines(finding: Finding, *, depth: int = 0) -> Iterator[str]:
    """The tree as indented text; of alternatives that fail, only the first few."""
    saw = f"  (is {finding.saw})" if finding.saw else ""
    yield f"{_INDENT * depth}{'yes' if finding.holds else 'no ':3}  {finding.text}{saw}"
    parts = list(finding.parts)
    if finding.text == "any of":
        parts.sort(key=lambda one: not one.holds)
        holding = sum(one.holds for one in parts)
        shown = parts[: max(holding, MAX_SHOWN)]
    else:
        shown = parts
    for one in shown:
        yield from lines(one, depth=depth + 1)
    if len(shown) < len(parts):
        left = len(parts) - len(shown)
        yield f"{_INDENT * (depth + 1)}no   {left} more alternatives"


def value_text(value: Value) -> str:
    """What a field is compared with, in a form close to Sigma's."""
    match value:
        case Text(parts, cased):
            pattern = "".join(one if isinstance(one, str) else one.value for one in parts)
            return f"{'is exactly' if cased else 'is'} {pattern!r}"
        case Regex(pattern, flags, at_start, at_end):
            start, end = "^" if at_start else "", "$" if at_end else ""
            return f"has /{start}{pattern}{end}/{''.join(sorted(flags))}"
        case Number(number):
            return f"= {number}"
        case Boolean(truth):
            return f"= {str(truth).lower()}"
        case Null():
            return "is not there"
        case Exists(expected):
            return "is there" if expected else "is not there"
        case Network(cidr):
            return f"in {cidr}"
        case Compare(operator, number):
            return f"{_SIGNS[operator]} {number}"
        case SameAs(field, at_start, at_end):
            how = "begins with" if at_start else "ends with" if at_end else "is the same as"
            return f"{how} {field}"


def _shown(value: FieldValue) -> str:
    if value is None:
        return "not there"
    return repr(value) if isinstance(value, str) else str(value)
