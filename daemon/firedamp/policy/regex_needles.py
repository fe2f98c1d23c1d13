# SPDX-License-Identifier: Apache-2.0
"""Texts, one of which stands in whatever a regular expression is found in.

They are looked for first, for all rules together; only where one is found is the expression run.
What is not understood yields nothing, and the expression is always run.
"""

import re
from collections.abc import Iterator, Sequence
from re import _constants, _parser  # type: ignore[attr-defined] # private, and has been for ever
from typing import Any, Final

from firedamp.policy.demand import clumsiness
from firedamp.policy.view import fold

MIN_LENGTH: Final = 2
MAX_NEEDLES: Final = 64
# Without regard to case, these letters equal others that are not their lower-case forms.
_EXOTIC: Final = frozenset("iIsS")

Needles = frozenset[str]


def regex_needles(pattern: str, *, ignore_case: bool) -> Needles:
    """In lower case; empty where there are none that are certain."""
    try:
        parsed = _parser.parse(pattern, re.IGNORECASE if ignore_case else 0)
    except (re.error, RecursionError, OverflowError):
        return frozenset()
    found = _needles(list(parsed), ignore_case=bool(parsed.state.flags & re.IGNORECASE))
    return found if found and len(found) <= MAX_NEEDLES else frozenset()


def _needles(tokens: Sequence[tuple[Any, Any]], *, ignore_case: bool) -> Needles | None:
    """The best of what each part of a sequence demands."""
    found = [one for one in _candidates(tokens, ignore_case=ignore_case) if one]
    return min(found, key=clumsiness) if found else None


def _candidates(
    tokens: Sequence[tuple[Any, Any]], *, ignore_case: bool
) -> Iterator[Needles | None]:
    run = ""
    for operator, argument in [*tokens, (None, None)]:
        if operator is _constants.LITERAL and _is_plain(chr(argument), ignore_case=ignore_case):
            run += chr(argument)
            continue
        if len(run) >= MIN_LENGTH:
            yield frozenset({fold(run)})
        run = ""
        yield _inner(operator, argument, ignore_case=ignore_case)


def _is_plain(letter: str, *, ignore_case: bool) -> bool:
    return not ignore_case or (letter.isascii() and letter not in _EXOTIC)


def _inner(operator: Any, argument: Any, *, ignore_case: bool) -> Needles | None:
    """What a group, a choice or a repetition demands."""
    if operator is _constants.SUBPATTERN:
        _, added, _, inner = argument
        return _needles(list(inner), ignore_case=ignore_case or bool(added & re.IGNORECASE))
    if operator is _constants.BRANCH:
        several = [_needles(list(one), ignore_case=ignore_case) for one in argument[1]]
        if any(one is None for one in several):
            return None
        return frozenset().union(*(one for one in several if one))
    if operator in {_constants.MAX_REPEAT, _constants.MIN_REPEAT} and argument[0] > 0:
        return _needles(list(argument[2]), ignore_case=ignore_case)
    return None
