# SPDX-License-Identifier: Apache-2.0
"""One parsed document as a rule, with its own tests."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from firedamp.policy.fields import CATEGORIES, nearest_category, unknown_fields
from firedamp.policy.files import Source
from firedamp.policy.ir import Case, CaseEvent, Condition, Rule
from firedamp.policy.logsource import Logsource
from firedamp.policy.metadata import Head, Heads
from firedamp.policy.model import Extension, StatedCase
from firedamp.policy.sigma import Detections
from firedamp.policy.types import Level
from firedamp.strict_yaml import YamlPath

_IN_TESTS: Final = frozenset({"category", "at"})
_NS_APART_S: Final = 0.001
"""Events of a test that do not say when they happen follow each other by this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedRule:
    """A sound rule; `obstacle` says why it cannot apply here, if it cannot."""

    source: Source
    head: Head
    logsource: Logsource
    rule: Rule | None
    obstacle: str = ""


def read_rule(source: Source, heads: Heads) -> ParsedRule | None:
    """The rule of a document, or None if there are problems, which `heads` keeps."""
    before = len(heads.problems)
    head = heads.read(source)
    try:
        logsource = Logsource.of(source.data)
    except ValueError as error:
        heads.problems.append(source.problem(("logsource",), str(error)))
        return None
    detections = Detections(source.document, "detection")
    condition = detections.read(reserved=frozenset({"condition"}))
    heads.problems.extend(detections.problems)
    obstacle = logsource.obstacle() or "; ".join(detections.obstacles)
    if head and head.extension and obstacle:
        heads.problems.append(source.problem(("logsource",), obstacle))
    obstacle = (head.retired if head else "") or obstacle
    if head and not obstacle:
        _judge_fields(source, head, logsource.category or "", detections.fields, heads)
    for name in detections.unused:
        text = "is not used by the condition"
        heads.warnings.append(source.problem(("detection", name), text))
    cases = read_cases(source, head.extension, heads) if head and head.extension else ()
    if head is None or len(heads.problems) > before:
        return None
    rule = _rule(head, logsource, condition, cases) if condition and not obstacle else None
    return ParsedRule(source=source, head=head, logsource=logsource, rule=rule, obstacle=obstacle)


def _rule(head: Head, logsource: Logsource, condition: Condition, cases: tuple[Case, ...]) -> Rule:
    return Rule(
        summary=head.summary,
        name=head.name,
        raises=raises_alone(head),
        every_s=head.extension.every if head.extension else Extension().every,
        cases=cases,
        category=logsource.category or "",
        condition=condition,
    )


def raises_alone(head: Head) -> bool:
    """Whether it raises alerts, as far as it says itself; Sigma's informational rules do not."""
    if head.extension and head.extension.alert is not None:
        return head.extension.alert
    return head.summary.level > Level.INFORMATIONAL or bool(head.summary.response)


def _judge_fields(
    source: Source, head: Head, category: str, names: Mapping[str, YamlPath], heads: Heads
) -> None:
    for name, near in unknown_fields(category, names).items():
        text = no_such_field(name, near, category)
        # A rule of ours that asks for what is not there is broken; one from elsewhere may ask
        # for what other systems know, and its other alternatives still match.
        where = heads.problems if head.extension else heads.warnings
        where.append(source.problem(names[name], text))


def no_such_field(name: str, near: str, category: str) -> str:
    hint = f"; did you mean {near}?" if near else ""
    return f"events of category {category} have no field {name}{hint}"


def read_cases(source: Source, extension: Extension, heads: Heads) -> tuple[Case, ...]:
    """The tests that a policy carries; fields and categories must exist."""
    return tuple(_cases(source, extension.tests, heads))


def _cases(source: Source, tests: Iterable[StatedCase], heads: Heads) -> Iterator[Case]:
    for index, test in enumerate(tests):
        path: YamlPath = ("firedamp", "tests", index)
        events = []
        for number, event in enumerate(test.events):
            try:
                events.append(_event(event, number))
            except ValueError as error:
                problem = source.problem((*path, "events", number), str(error))
                heads.problems.append(problem)
        yield Case(
            name=test.name,
            events=tuple(events),
            alert=test.expect.alert,
            response=test.expect.response,
            line=source.document.line_of(path),
        )


def _event(event: Mapping[str, object], number: int) -> CaseEvent:
    category, at = event.get("category"), event.get("at", number * _NS_APART_S)
    if not isinstance(category, str) or category not in CATEGORIES:
        near = nearest_category(str(category))
        raise ValueError(
            f"there is no category {category}" + (f"; did you mean {near}?" * bool(near))
        )
    if isinstance(at, bool) or not isinstance(at, int | float):
        raise ValueError("at must be a number of seconds")  # noqa: TRY004 - of a file
    fields = {name: value for name, value in event.items() if name not in _IN_TESTS}
    for name, near in unknown_fields(category, fields).items():
        raise ValueError(no_such_field(name, near, category))
    return CaseEvent(
        category=category,
        fields=tuple((name, _value(value)) for name, value in fields.items()),
        at_s=float(at),
    )


def _value(value: object) -> str | int | float | bool | tuple[str, ...] | None:
    if isinstance(value, tuple):
        return tuple(str(one) for one in value)
    if value is None or isinstance(value, str | int | float):
        return value
    raise ValueError(f"not a field's value: {value}")
