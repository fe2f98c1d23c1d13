# SPDX-License-Identifier: Apache-2.0
"""Detections and conditions of Sigma files, read by pySigma, as our own condition trees.

pySigma is given one field at a time, so that an error can name the key. What it leaves open
is decided here: the specification's `utf16le` is `wide`; a number is the same text under a
modifier for text; an empty list is an error; a keyword is found anywhere in a field; a
regular expression is found anywhere in the value, unless it is anchored or has `startswith` or
`endswith`. Nothing here trusts a file to be small in what it expands to.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

from sigma.conditions import (
    ConditionAND,
    ConditionIdentifier,
    ConditionItem,
    ConditionNOT,
    ConditionOR,
    ConditionSelector,
    SigmaCondition,
)
from sigma.exceptions import SigmaError
from sigma.modifiers import SigmaEndswithModifier, SigmaStartswithModifier
from sigma.policy import SigmaPolicy
from sigma.policy.regex_engine import RE2RegexEngine, RegexPattern
from sigma.rule import SigmaDetectionItem
from sigma.rule.detection import EmptySigmaDetections
from sigma.types import SigmaFieldReference

from firedamp.errors import PolicyError
from firedamp.policy.ir import And, Comparison, Condition, Not, Or
from firedamp.policy.matchers import single
from firedamp.policy.sigma_values import CannotApply, value_of
from firedamp.strict_yaml import Document, Problem, YamlPath

MAX_CONDITION: Final = 2000
"""Characters of a condition."""
MAX_NESTING: Final = 12
"""Parentheses within parentheses; pySigma's parser gets slow beyond that."""
MAX_TESTS: Final = 10_000
"""Comparisons that a rule may come to once everything is expanded."""

_NOT_SOUND: Final = (SigmaError, PolicyError, TypeError, ValueError, AttributeError, RecursionError)
_TEXTUAL: Final = frozenset(
    {"contains", "startswith", "endswith", "cased", "re", "windash", "wide", "base64"}
    | {"base64offset", "utf16", "utf16be", "utf16le"}
)


class Detections:
    """The named detections of a rule or filter, and the condition that joins them."""

    def __init__(self, document: Document, section: str) -> None:
        self.problems: list[Problem] = []
        self.obstacles: list[str] = []
        """Why the rule cannot apply here although it is sound."""
        self.fields: dict[str, YamlPath] = {}
        """Every field that is named, and where first."""
        self.unused: list[str] = []
        """Names of detections that the condition does not use."""
        self._document = document
        self._section = section
        self._named: dict[str, Condition] = {}

    def read(self, *, reserved: frozenset[str]) -> Condition | None:
        """The whole section as one condition, or None if there are problems."""
        data = self._document.data
        section = data.get(self._section) if isinstance(data, dict) else None
        if not isinstance(section, dict):
            self._problem((self._section,), "must be a map of detections and a condition")
            return None
        for name, definition in section.items():
            if name not in reserved:
                path = (self._section, name)
                if condition := self._definition(definition, path):
                    self._named[name] = condition
        joined = self._joined(section.get("condition"))
        return None if self.problems or self.obstacles else joined

    def _problem(self, path: YamlPath, text: str) -> None:
        self.problems.append(self._document.problem(path, text))

    def _definition(self, definition: object, path: YamlPath) -> Condition | None:
        if isinstance(definition, dict):
            found = [self._item(key, value, (*path, key)) for key, value in definition.items()]
            return self._linked(And, found, path)
        if isinstance(definition, list) and any(isinstance(one, dict | list) for one in definition):
            found = [self._definition(one, (*path, i)) for i, one in enumerate(definition)]
            return self._linked(Or, found, path)
        return self._item(None, definition, path)

    def _linked(
        self, link: type[And | Or], found: Sequence[Condition | None], path: YamlPath
    ) -> Condition | None:
        if not found:
            self._problem(path, "is empty")
        items = tuple(one for one in found if one is not None)
        if len(items) < len(found) or not items:
            return None
        return items[0] if len(items) == 1 else link(items)

    def _item(self, key: str | None, value: object, path: YamlPath) -> Condition | None:
        """One field, or keywords, as a condition."""
        try:
            return self._read_item(key, value, path)
        except CannotApply as obstacle:
            self.obstacles.append(f"{key or 'keywords'}: {obstacle}")
        except _NOT_SOUND as error:
            self._problem(path, _reason(error))
        return None

    def _read_item(self, key: str | None, value: object, path: YamlPath) -> Condition:
        name, *modifiers = (key or "").split("|")
        values: list[Any] = value if isinstance(value, list) else [value]
        if not values:
            raise PolicyError("an empty list matches nothing")
        if _TEXTUAL.intersection(modifiers):
            values = [_as_text(one) for one in values]
        if "re" in modifiers and not all(isinstance(one, str) for one in values):
            raise PolicyError("a regular expression must be text")
        modifiers = ["wide" if one == "utf16le" else one for one in modifiers]
        item = SigmaDetectionItem.from_mapping("|".join([name, *modifiers]), values, policy=_SIGMA)
        for field in (item.field, *_other_fields(item)):
            if field:
                self.fields.setdefault(field, path)
        return _condition_of(item)

    def _joined(self, condition: object) -> Condition | None:
        """The condition; of several, any."""
        several = condition if isinstance(condition, list) else [condition]
        path: YamlPath = (self._section, "condition")
        if self.problems or self.obstacles:
            return None
        try:
            tree = _Tree(self._named)
            items = tuple(tree.read(one) for one in several)
            if not items:
                raise PolicyError("there is no condition")
        except _NOT_SOUND as error:
            self._problem(path, _reason(error))
            return None
        self.unused = [name for name in self._named if name not in tree.used]
        return items[0] if len(items) == 1 else Or(items)


def _reason(error: Exception) -> str:
    return "is nested too deeply" if isinstance(error, RecursionError) else str(error)


class _QuietRegexes(RE2RegexEngine):
    """Judges regular expressions as pySigma does, without writing about bad ones to stderr."""

    def compile(self, pattern: str, flags: int = 0) -> RegexPattern:
        options = self._re2.Options()
        options.log_errors = False
        return cast("RegexPattern", self._re2.compile(pattern, options))


_SIGMA: Final = SigmaPolicy(regex_engine=_QuietRegexes())


def _as_text(value: object) -> object:
    """Whole numbers as text; YAML took the quotes' absence for meaning."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _other_fields(item: SigmaDetectionItem) -> Iterator[str]:
    for value in item.value:
        if isinstance(value, SigmaFieldReference):
            yield value.field


def _condition_of(item: SigmaDetectionItem) -> Condition:
    """Raises PolicyError for what cannot be compared with, CannotApply for what is not here."""
    at_start = SigmaStartswithModifier in item.modifiers
    at_end = SigmaEndswithModifier in item.modifiers
    alternatives = []
    for value in item.value:
        values = value_of(value, at_start=at_start, at_end=at_end)
        tests = tuple(Comparison(item.field, one) for one in values)
        for test in tests:
            single(test)
        alternatives.append(tests[0] if len(tests) == 1 else Or(tests))
    link = And if item.value_linking is ConditionAND else Or
    whole: Condition = alternatives[0] if len(alternatives) == 1 else link(tuple(alternatives))
    return Not(whole) if item.negated else whole


class _Tree:
    """A condition's text over named detections, as a tree of bounded size."""

    def __init__(self, named: Mapping[str, Condition]) -> None:
        self.used: set[str] = set()
        self._named = named
        self._sizes = {name: _size(condition) for name, condition in named.items()}
        self._total = 0

    def read(self, text: object) -> Condition:
        if not isinstance(text, str) or not text.strip():
            raise PolicyError("there is no condition")
        if len(text) > MAX_CONDITION or _nesting(text) > MAX_NESTING:
            raise PolicyError("the condition is too long or too deeply nested")
        parsed = SigmaCondition(text, EmptySigmaDetections()).parse(postprocess=False)
        return self._convert(parsed)

    def _convert(self, node: object) -> Condition:
        match node:
            case ConditionIdentifier():
                return self._detection(node.identifier)
            case ConditionSelector():
                link = And if node.cond_class is ConditionAND else Or
                found = tuple(self._detection(name) for name in self._selected(node.pattern))
                return found[0] if len(found) == 1 else link(found)
            case ConditionNOT():
                return Not(self._convert(node.args[0]))
            case ConditionAND():
                return And(tuple(self._children(node)))
            case ConditionOR():
                return Or(tuple(self._children(node)))
        raise PolicyError(f"cannot be understood at {node}")

    def _children(self, node: ConditionItem) -> Iterator[Condition]:
        for child in node.args:
            yield self._convert(child)

    def _detection(self, name: str) -> Condition:
        if name not in self._named:
            raise PolicyError(f"there is no detection called {name}")
        self.used.add(name)
        self._total += self._sizes[name]
        if self._total > MAX_TESTS:
            raise PolicyError(f"comes to more than {MAX_TESTS} comparisons")
        return self._named[name]

    def _selected(self, pattern: str) -> list[str]:
        """Detections that a selector means; those that begin with _ only if it names the _."""
        wanted = "*" if pattern == "them" else pattern
        fits = re.compile(".*".join(map(re.escape, wanted.split("*")))).fullmatch
        hidden = wanted.startswith("_")
        found = [n for n in self._named if fits(n) and (hidden or not n.startswith("_"))]
        if not found:
            raise PolicyError(f"no detection fits {pattern}")
        return found


def _size(condition: Condition) -> int:
    match condition:
        case And(items) | Or(items):
            return sum(map(_size, items))
        case Not(item):
            return _size(item)
    return 1


def _nesting(text: str) -> int:
    depth = deepest = 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        deepest = max(deepest, depth)
    return deepest
