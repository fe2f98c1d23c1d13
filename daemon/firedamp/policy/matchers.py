# SPDX-License-Identifier: Apache-2.0
"""From values to predicates: how one field is compared, as fast as plain Python can.

Whole lists of patterns on one field become one predicate over its text: a set look-up, one
`endswith` with a tuple, or one regular expression. A field with several values matches where
any of them does.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Final

from firedamp.analysis.base import FieldValue
from firedamp.errors import PolicyError
from firedamp.policy.ir import (
    Boolean,
    Compare,
    Comparison,
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
from firedamp.policy.view import FOLDED, TEXT, FieldView, fold

Matcher = Callable[[FieldView], bool]
TextPredicate = Callable[[str], bool]

MAX_PATTERN: Final = 4096
_REGEX_MEMORY: Final = 1 << 19
"""Bytes for one regular expression and its cache; RE2 gets slower, not larger, beyond."""
_FEW: Final = 32
"""Up to so many substrings are looked for one by one, which is faster than a regular
expression that looks for all of them."""


def regex_predicate(regex: Regex) -> TextPredicate:
    """Compile a regular expression from a policy; the only place that does.

    RE2 takes time linear in the text whatever the expression: with an engine that backtracks,
    an account without any rights could hold up the daemon for seconds by one command line.

    Raises:
        PolicyError: it is not one, or too long, or needs what RE2 cannot do.
    """
    if len(regex.pattern) > MAX_PATTERN:
        raise PolicyError(f"regular expression of more than {MAX_PATTERN} characters")
    import re2  # type: ignore[import-untyped] # noqa: PLC0415 - 3 MiB, for those who need it

    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = _REGEX_MEMORY
    flags = f"(?{''.join(sorted(regex.flags))})" if regex.flags else ""
    start, end = r"\A" if regex.at_start else "", r"\z" if regex.at_end else ""
    try:
        search = re2.compile(f"{flags}{start}(?:{regex.pattern}){end}", options).search
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        reason = reason.decode(errors="replace") if isinstance(reason, bytes) else reason
        raise PolicyError(f"not a regular expression: {reason}") from error
    # Bytes that are not text have come as lone surrogates, which RE2 does not take.
    return lambda value: search(value.encode(errors="replace")) is not None


def any_text(patterns: Iterable[Text], *, inside: bool = False) -> TextPredicate:
    """True for a text that any of the patterns fits; with `inside`, fits some part of.

    Patterns are compared as they stand: for matching without regard to case, both sides come
    in lower case.
    """
    shapes = _Shapes(inside=inside)
    for pattern in patterns:
        shapes.add(pattern.parts)
    return _either(shapes.predicates())


class _Shapes:
    """Patterns by what is cheapest to find them with."""

    def __init__(self, *, inside: bool) -> None:
        self._inside = inside
        self._equal: set[str] = set()
        self._prefixes: list[str] = []
        self._suffixes: list[str] = []
        self._substrings: list[str] = []
        self._expressions: list[str] = []
        self._everything = False

    def add(self, parts: tuple[str | Wildcard, ...]) -> None:
        if self._inside:
            parts = (Wildcard.ANY, *parts, Wildcard.ANY)
        match parts:
            case ():
                self._equal.add("")
            case (str(text),):
                self._equal.add(text)
            case (str(text), Wildcard.ANY):
                self._prefixes.append(text)
            case (Wildcard.ANY, str(text)):
                self._suffixes.append(text)
            case (Wildcard.ANY, str(text), Wildcard.ANY):
                self._substrings.append(text)
            case _ if all(part is Wildcard.ANY for part in parts):
                self._everything = True
            case _:
                self._expressions.append(_expression(parts))

    def predicates(self) -> list[TextPredicate]:
        if self._everything:
            return [lambda _value: True]
        found: list[TextPredicate] = []
        if self._equal:
            found.append(frozenset(self._equal).__contains__)
        if self._prefixes:
            prefixes = tuple(self._prefixes)
            found.append(lambda value: value.startswith(prefixes))
        if self._suffixes:
            suffixes = tuple(self._suffixes)
            found.append(lambda value: value.endswith(suffixes))
        if 0 < len(self._substrings) <= _FEW:
            found.append(_contains(tuple(self._substrings)))
        elif self._substrings:
            search = re.compile("|".join(map(re.escape, self._substrings))).search
            found.append(lambda value: search(value) is not None)
        if self._expressions:
            match = re.compile("|".join(self._expressions), re.DOTALL).match
            found.append(lambda value: match(value) is not None)
        return found


def _contains(texts: tuple[str, ...]) -> TextPredicate:
    if len(texts) == 1:
        [only] = texts
        return lambda value: only in value

    def contains(value: str) -> bool:
        for text in texts:  # noqa: SIM110 - any() would cost a generator
            if text in value:
                return True
        return False

    return contains


def _expression(parts: Sequence[str | Wildcard]) -> str:
    """The parts as a regular expression for `match`.

    Each `*` is settled at the first place where what follows it fits, and never reconsidered
    (an atomic group): so the cost stays linear however many there are. Only what stands after
    the last one is looked for from the end.
    """
    segments = [""]
    for part in parts:
        if part is Wildcard.ANY:
            segments.append("")
        else:
            segments[-1] += "." if part is Wildcard.ONE else re.escape(str(part))
    if len(segments) == 1:
        return segments[0] + _END
    first, *middle, last = segments
    found = "".join(f"(?>.*?{segment})" for segment in middle if segment)
    return f"{first}{found}" + (f".*{last}{_END}" if last else "")


_END: Final = r"\Z"


def _either(predicates: list[TextPredicate]) -> TextPredicate:
    if len(predicates) == 1:
        return predicates[0]
    if len(predicates) == 2:
        first, second = predicates
        return lambda value: first(value) or second(value)

    def any_of(value: str) -> bool:
        for predicate in predicates:  # noqa: SIM110 - any() would cost a generator
            if predicate(value):
                return True
        return False

    return any_of


def on_text(key: str, predicate: TextPredicate) -> Matcher:
    """The predicate over the text under this key of a view."""

    def matcher(view: FieldView) -> bool:
        value = view[key]
        if type(value) is str:
            return predicate(value)
        if type(value) is tuple:
            return any(map(predicate, value))
        return False

    return matcher


def text_group(field: str | None, patterns: Sequence[Text]) -> Matcher:
    """True where the field fits any of the patterns, which are all cased or all not."""
    inside = field is None
    if patterns[0].cased:
        return on_text(TEXT + (field or ""), any_text(patterns, inside=inside))
    folded = [Text(tuple(_lower(part) for part in one.parts)) for one in patterns]
    return on_text(FOLDED + (field or ""), any_text(folded, inside=inside))


def _lower(part: str | Wildcard) -> str | Wildcard:
    return fold(part) if isinstance(part, str) else part


def single(test: Comparison) -> Matcher:
    """The matcher of one comparison.

    Raises:
        PolicyError: the value cannot be compared with.
    """
    field, value = test.field, test.value
    if isinstance(value, Text):
        return text_group(field, [value])
    if isinstance(value, Regex):
        return on_text(TEXT + (field or ""), regex_predicate(value))
    if field is None:
        return text_group(None, [Text((_plain(value),))])
    return _on_value(field, value)


def _plain(value: Value) -> str:
    if isinstance(value, Number):
        return str(value.value)
    if isinstance(value, Boolean):
        return "true" if value.value else "false"
    raise PolicyError("a keyword must be text, a number or a regular expression")


def _on_value(field: str, value: Value) -> Matcher:
    match value:
        case Null() | Exists(False):
            return lambda view: view[field] is None
        case Exists():
            return lambda view: view[field] is not None
        case Number(number):
            return _over(field, lambda one: _is_number(one, number))
        case Boolean(boolean):
            return _over(field, lambda one: _is_boolean(one, expected=boolean))
        case Compare(operator, number):
            return _over(field, compare_predicate(operator, number))
        case Network(cidr):
            return on_text(TEXT + field, network_predicate(cidr))
        case SameAs():
            return _same_as(field, value)
    raise PolicyError(f"cannot compare with {value!r}")


def _over(field: str, predicate: Callable[[object], bool]) -> Matcher:
    def matcher(view: FieldView) -> bool:
        value: FieldValue = view[field]
        if value is None:
            return False
        if isinstance(value, tuple):
            return any(map(predicate, value))
        return predicate(value)

    return matcher


def _is_number(value: object, number: float) -> bool:
    """Text is compared as text: a log that writes numbers as strings means the same number."""
    if isinstance(value, str):
        return value == str(number)
    return value == number and not isinstance(value, bool)


def _is_boolean(value: object, *, expected: bool) -> bool:
    if isinstance(value, str):
        return value.lower() == ("true" if expected else "false")
    return value is expected


def compare_predicate(operator: Operator, number: float) -> Callable[[object], bool]:
    """Compares numbers, and text that is one; everything else is not less, not more, not equal."""
    holds = _OPERATORS[operator]

    def predicate(value: object) -> bool:
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                return False
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return holds(value, number)

    return predicate


_OPERATORS: Final[dict[Operator, Callable[[float, float], bool]]] = {
    "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "gte": lambda a, b: a >= b,
    "eq": lambda a, b: a == b,
    "neq": lambda a, b: a != b,
}


def network_predicate(cidr: str) -> TextPredicate:
    """True for the text of an address in the network."""
    network = ipaddress.ip_network(cidr)
    version, mask, wanted = network.version, int(network.netmask), int(network.network_address)

    def predicate(value: str) -> bool:
        address = _address(value)
        return address is not None and address[0] == version and address[1] & mask == wanted

    return predicate


@lru_cache(maxsize=4096)
def _address(text: str) -> tuple[int, int] | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return address.version, int(address)


def _same_as(field: str, value: SameAs) -> Matcher:
    mine, other = FOLDED + field, FOLDED + value.field
    at_start, at_end = value.at_start, value.at_end

    def fits(text: str, wanted: str) -> bool:
        if at_start and at_end:
            return wanted in text
        if at_start:
            return text.startswith(wanted)
        return text.endswith(wanted) if at_end else text == wanted

    def matcher(view: FieldView) -> bool:
        wanted = _texts(view[other])
        return any(fits(text, one) for text in _texts(view[mine]) for one in wanted)

    return matcher


def _texts(value: FieldValue) -> tuple[str, ...]:
    if isinstance(value, tuple):
        return value
    return (value,) if isinstance(value, str) else ()
