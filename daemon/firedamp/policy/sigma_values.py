# SPDX-License-Identifier: Apache-2.0
"""pySigma's values, after its modifiers, as ours."""

from typing import Final, Literal

from sigma.types import (
    CompareOperators,
    Placeholder,
    SigmaBool,
    SigmaCasedString,
    SigmaCIDRExpression,
    SigmaCompareExpression,
    SigmaExists,
    SigmaExpansion,
    SigmaFieldReference,
    SigmaNull,
    SigmaNumber,
    SigmaRegularExpression,
    SigmaRegularExpressionFlag,
    SigmaString,
    SigmaTimestampPart,
    SigmaType,
    SpecialChars,
)

from firedamp.errors import PolicyError
from firedamp.policy.ir import (
    Boolean,
    Compare,
    Exists,
    Network,
    Null,
    Number,
    Operator,
    Regex,
    SameAs,
    Text,
    Value,
    Wildcard,
)
from firedamp.policy.regex_needles import regex_needles


class CannotApply(Exception):  # noqa: N818 - the rule is sound; it is a reason, not a fault
    """A sound value that needs what is not there, such as a placeholder's values."""


def value_of(value: SigmaType, *, at_start: bool, at_end: bool) -> tuple[Value, ...]:
    """The values, any of which may match, that one of pySigma's stands for.

    `at_start` and `at_end` anchor regular expressions.

    Raises:
        CannotApply: the value needs what is not there.
        PolicyError: there is no such value.
    """
    match value:
        case SigmaExpansion():
            expanded = (value_of(one, at_start=at_start, at_end=at_end) for one in value.values)
            return tuple(one for several in expanded for one in several)
        case SigmaRegularExpression():
            return (_regex(value, at_start=at_start, at_end=at_end),)
        case SigmaTimestampPart():
            raise CannotApply("no field holds a time of day or a date")
    return (_plain(value),)


def _plain(value: SigmaType) -> Value:
    match value:
        case SigmaString():
            return Text(_parts(value), cased=isinstance(value, SigmaCasedString))
        case SigmaNumber():
            return Number(value.number)
        case SigmaBool():
            return Boolean(value.boolean)
        case SigmaNull():
            return Null()
        case SigmaExists():
            return Exists(value.exists)
        case SigmaCIDRExpression():
            return Network(str(value.network))
        case SigmaCompareExpression():
            return Compare(_OPERATORS[value.op], value.number.number)
        case SigmaFieldReference():
            return SameAs(value.field, at_start=value.starts_with, at_end=value.ends_with)
    raise PolicyError(f"cannot compare with a {type(value).__name__}")


def _parts(text: SigmaString) -> tuple[str | Wildcard, ...]:
    parts: list[str | Wildcard] = []
    for part in text.s:
        if isinstance(part, Placeholder):
            raise CannotApply(f"the placeholder %{part.name}% has no values here")
        if isinstance(part, SpecialChars):
            wildcard = _WILDCARDS[part]
            if not (wildcard is Wildcard.ANY and parts and parts[-1] is Wildcard.ANY):
                parts.append(wildcard)
        elif part and parts and isinstance(parts[-1], str):
            parts[-1] += part
        elif part:
            parts.append(part)
    return tuple(parts)


def _regex(value: SigmaRegularExpression, *, at_start: bool, at_end: bool) -> Regex:
    if value.contains_placeholder():
        raise CannotApply("placeholders in a regular expression have no values here")
    flags = frozenset(_FLAGS[flag] for flag in value.flags)
    pattern = str(value.regexp)
    return Regex(
        pattern,
        flags,
        at_start=at_start,
        at_end=at_end,
        needles=regex_needles(pattern, ignore_case="i" in flags),
    )


_WILDCARDS: Final = {
    SpecialChars.WILDCARD_MULTI: Wildcard.ANY,
    SpecialChars.WILDCARD_SINGLE: Wildcard.ONE,
}

_FLAGS: Final[dict[SigmaRegularExpressionFlag, Literal["i", "m", "s"]]] = {
    SigmaRegularExpressionFlag.IGNORECASE: "i",
    SigmaRegularExpressionFlag.MULTILINE: "m",
    SigmaRegularExpressionFlag.DOTALL: "s",
}

_OPERATORS: Final[dict[CompareOperators, Operator]] = {
    CompareOperators.LT: "lt",
    CompareOperators.LTE: "lte",
    CompareOperators.GT: "gt",
    CompareOperators.GTE: "gte",
    CompareOperators.NEQ: "neq",
}
