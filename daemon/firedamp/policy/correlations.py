# SPDX-License-Identifier: Apache-2.0
"""One parsed document as a correlation, its references still open, and their resolution."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args

from sigma.correlations import (
    CorrelationConditionAND,
    CorrelationConditionNOT,
    CorrelationConditionOR,
    SigmaCorrelationRule,
    SigmaExtendedCorrelationCondition,
    SigmaRuleReference,
)
from sigma.exceptions import SigmaError

from firedamp.policy.correlate import MAX_THRESHOLD
from firedamp.policy.files import Source
from firedamp.policy.ir import (
    AllSeen,
    AnySeen,
    Case,
    Compare,
    CorrelationKind,
    Expression,
    NotSeen,
    Operator,
    Seen,
)
from firedamp.policy.metadata import Head, Heads
from firedamp.policy.rules import read_cases
from firedamp.strict_yaml import YamlPath

MAX_MEMBERS: Final = 64
MAX_TIMESPAN_S: Final = 30 * 86_400
_KINDS: Final = get_args(CorrelationKind)
_OPERATORS: Final = get_args(Operator)
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604_800}
_KEYS: Final = frozenset(
    {"type", "rules", "group-by", "timespan", "condition", "aliases", "generate"}
)
_NOT_SOUND: Final = (SigmaError, TypeError, ValueError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedCorrelation:
    """A sound correlation; `obstacle` says why it cannot apply here, if it cannot."""

    source: Source
    head: Head
    kind: CorrelationKind
    references: tuple[str, ...]
    group_by: tuple[str, ...]
    aliases: Mapping[str, Mapping[str, str]]
    """Alias -> reference -> field."""
    timespan_s: int
    thresholds: tuple[Compare, ...]
    expression: Expression | None
    values: tuple[str, ...]
    generate: bool
    cases: tuple[Case, ...]
    obstacle: str = ""


class _Unsound(Exception):  # noqa: N818 - caught where it is raised for
    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.path: YamlPath = ("correlation", key) if key else ("correlation",)


def read_correlation(source: Source, heads: Heads) -> ParsedCorrelation | None:
    """The correlation of a document, or None if there are problems, which `heads` keeps."""
    before = len(heads.problems)
    head = heads.read(source)
    cases = read_cases(source, head.extension, heads) if head and head.extension else ()
    parsed = None
    try:
        if head:
            parsed = _Reader(source, head).read(cases)
    except _Unsound as error:
        heads.problems.append(source.problem(error.path, str(error)))
    return parsed if len(heads.problems) == before else None


class _Reader:
    def __init__(self, source: Source, head: Head) -> None:
        self._source = source
        self._head = head
        section = source.data.get("correlation")
        if not isinstance(section, dict):
            raise _Unsound("", "must be a map")
        self._section: dict[str, Any] = section

    def read(self, cases: tuple[Case, ...]) -> ParsedCorrelation:
        for key in self._section:
            if key not in _KEYS:
                raise _Unsound(key, "unknown key")
        thresholds = self._thresholds()
        sigma = self._sigma()
        kind = sigma.type.name.lower()
        references = self._references(sigma)
        self._fit(kind, thresholds, len(references))
        expression = self._expression(sigma, references)
        obstacle = "" if kind in _KINDS else f"is of type {kind}, which is not run yet"
        if any(one.value > MAX_THRESHOLD for one in thresholds):
            obstacle = f"counts to more than {MAX_THRESHOLD}"
        if kind == "temporal_ordered" and expression:
            obstacle = "has an order and a condition of rules together, which is not run yet"
        return ParsedCorrelation(
            source=self._source,
            head=self._head,
            kind=kind,  # type: ignore[arg-type] # an obstacle keeps other kinds from being used
            references=references,
            group_by=self._texts("group-by"),
            aliases=self._aliases(references),
            timespan_s=self._timespan(),
            thresholds=thresholds or (Compare("gte", len(references)),),
            expression=expression,
            values=self._values(),
            generate=bool(sigma.generate),
            cases=cases,
            obstacle=self._head.retired or obstacle,
        )

    def _sigma(self) -> SigmaCorrelationRule:
        """What pySigma makes of it; ranges, which it does not know, are left to us."""
        section = dict(self._section)
        condition = section.get("condition")
        if isinstance(condition, dict):
            known = [one for one in condition if one in _OPERATORS]
            section["condition"] = {k: v for k, v in condition.items() if k not in known[1:]}
        data = {"title": self._head.summary.title, "correlation": section}
        try:
            return SigmaCorrelationRule.from_dict(data)
        except _NOT_SOUND as error:
            raise _Unsound("", str(error)) from error

    def _references(self, sigma: SigmaCorrelationRule) -> tuple[str, ...]:
        if sigma.rules is not None:
            references = [one.reference for one in sigma.rules]
        elif isinstance(sigma.condition, SigmaExtendedCorrelationCondition):
            references = sigma.condition.get_referenced_rules()
        else:
            references = []
        if not references or not all(isinstance(one, str) for one in references):
            raise _Unsound("rules", "must be ids or names of rules")
        if len(set(references)) < len(references):
            raise _Unsound("rules", "names a rule twice")
        if len(references) > MAX_MEMBERS:
            raise _Unsound("rules", f"names more than {MAX_MEMBERS} rules")
        return tuple(references)

    def _thresholds(self) -> tuple[Compare, ...]:
        condition = self._section.get("condition")
        if not isinstance(condition, dict):
            return ()
        found = []
        for operator in _OPERATORS:
            value = condition.get(operator)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise _Unsound("condition", f"{operator} must be a whole number")
            if value < 0:
                raise _Unsound("condition", f"{operator} must not be negative")
            found.append(Compare(operator, value))
        return tuple(found)

    def _fit(self, kind: str, thresholds: tuple[Compare, ...], members: int) -> None:
        if kind != "temporal_ordered" or not thresholds:
            return
        if thresholds not in {(Compare("gte", members),), (Compare("eq", members),)}:
            raise _Unsound("condition", "an ordered correlation is met by all of its rules")

    def _timespan(self) -> int:
        text = str(self._section.get("timespan"))
        if text[-1:] not in _UNITS:
            raise _Unsound("timespan", "must be in s, m, h, d or w, such as 90m")
        seconds = int(text[:-1]) * _UNITS[text[-1]]
        if seconds > MAX_TIMESPAN_S:
            raise _Unsound("timespan", f"must not be more than {MAX_TIMESPAN_S // 86_400} days")
        return seconds

    def _texts(self, key: str) -> tuple[str, ...]:
        given = self._section.get(key)
        several = given if isinstance(given, list) else [] if given is None else [given]
        if not all(isinstance(one, str) and one for one in several):
            raise _Unsound(key, "must be names of fields")
        return tuple(several)

    def _values(self) -> tuple[str, ...]:
        condition = self._section.get("condition")
        given = condition.get("field") if isinstance(condition, dict) else None
        several = given if isinstance(given, list) else [] if given is None else [given]
        if not all(isinstance(one, str) and one for one in several):
            raise _Unsound("condition", "field must be names of fields")
        return tuple(several)

    def _aliases(self, references: tuple[str, ...]) -> dict[str, dict[str, str]]:
        given = self._section.get("aliases")
        if given is None:
            return {}
        for alias, mapping in given.items():
            for reference, field in mapping.items():
                if reference not in references:
                    raise _Unsound("aliases", f"{alias} is for {reference}, which is not in rules")
                if not isinstance(field, str):
                    raise _Unsound("aliases", f"{alias} must map to names of fields")
        return dict(given)

    def _expression(
        self, sigma: SigmaCorrelationRule, references: tuple[str, ...]
    ) -> Expression | None:
        if not isinstance(sigma.condition, SigmaExtendedCorrelationCondition):
            return None
        return _expression(sigma.condition.parsed, references)


def _expression(node: object, references: tuple[str, ...]) -> Expression:
    match node:
        case SigmaRuleReference():
            return Seen(references.index(node.reference))
        case CorrelationConditionNOT():
            return NotSeen(_expression(node.args[0], references))
        case CorrelationConditionAND():
            return AllSeen(tuple(_each(node.args, references)))
        case CorrelationConditionOR():
            return AnySeen(tuple(_each(node.args, references)))
    raise _Unsound("condition", f"cannot be understood at {node}")


def _each(nodes: list[Any], references: tuple[str, ...]) -> Iterator[Expression]:
    for node in nodes:
        yield _expression(node, references)
