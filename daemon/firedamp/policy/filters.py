# SPDX-License-Identifier: Apache-2.0
"""Sigma filters: exceptions that are written beside rules instead of into them.

A filter's condition is joined to the rule's with `and`, so that an exception reads
`condition: not selection`. The bare `condition: selection` keeps a rule to what the selection
says; since the specification's own example has it where it means the opposite, it is warned of.
"""

import datetime as dt
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from firedamp.policy.files import Source
from firedamp.policy.ir import And, Condition
from firedamp.policy.logsource import Logsource
from firedamp.policy.metadata import Heads
from firedamp.policy.model import FilterExtension
from firedamp.policy.rules import ParsedRule
from firedamp.policy.sigma import Detections
from firedamp.strict_yaml import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedFilter:
    """A sound filter."""

    id: str
    source: Source
    logsource: Logsource
    condition: Condition | None
    """None: it cannot apply here."""
    rules: frozenset[str] | None
    """Ids and names; None: any rule."""
    expires: dt.date | None


def read_filter(source: Source, heads: Heads) -> ParsedFilter | None:
    """The filter of a document, or None if there are problems, which `heads` keeps."""
    before = len(heads.problems)
    try:
        logsource = Logsource.of(source.data)
    except ValueError as error:
        heads.problems.append(source.problem(("logsource",), str(error)))
        return None
    detections = Detections(source.document, "filter")
    condition = detections.read(reserved=frozenset({"condition", "rules"}))
    heads.problems.extend(detections.problems)
    heads.warnings.extend(source.problem(("filter",), one) for one in detections.obstacles)
    extension = heads.extension(source, FilterExtension) or FilterExtension()
    rules = _rules(source, heads)
    identity = _identity(source, heads)
    if len(heads.problems) > before:
        return None
    heads.warnings.extend(_doubts(source, extension))
    return ParsedFilter(
        id=identity,
        source=source,
        logsource=logsource,
        condition=condition,
        rules=rules,
        expires=extension.expires,
    )


def _identity(source: Source, heads: Heads) -> str:
    title, given = source.data.get("title"), source.data.get("id")
    if not isinstance(title, str) or not title:
        heads.problems.append(source.problem(("title",), "must be text"))
    if given is None:
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"filter/{title}"))
    try:
        return str(uuid.UUID(given if isinstance(given, str) else ""))
    except ValueError:
        heads.problems.append(source.problem(("id",), "must be a UUID"))
        return ""


def _rules(source: Source, heads: Heads) -> frozenset[str] | None:
    section = source.data.get("filter")
    given = section.get("rules") if isinstance(section, dict) else None
    if isinstance(given, str) and given.lower() == "any":
        return None
    several = given if isinstance(given, list) else [given]
    if not several or not all(isinstance(one, str) and one for one in several):
        text = "must be any, or the ids or names of rules"
        heads.problems.append(source.problem(("filter", "rules"), text))
        return None
    return frozenset(str(one).lower() for one in several)


def _doubts(source: Source, extension: FilterExtension) -> Iterator[Problem]:
    condition = source.data["filter"].get("condition")
    if isinstance(condition, str) and "not" not in condition.replace("(", " ").split():
        text = "keeps the rules to what it says; an exception reads `not …`"
        yield source.problem(("filter", "condition"), text)
    if not extension.reason:
        yield source.problem(("firedamp", "reason"), "a filter should say its reason")
    if extension.expires is None:
        yield source.problem(("firedamp", "expires"), "a filter should have a day on which it ends")


def apply_filters(
    rules: Iterable[ParsedRule],
    filters: Iterable[ParsedFilter],
    heads: Heads,
    *,
    today: dt.date | None,
) -> Iterator[ParsedRule]:
    """The rules with every filter that is for them and has not expired."""
    lasting = []
    for one in filters:
        if one.expires and today and one.expires < today:
            text = f"has expired on {one.expires} and is not applied"
            heads.warnings.append(one.source.problem((), text))
        else:
            lasting.append(one)
    used: set[str] = set()
    for rule in rules:
        yield _filtered(rule, lasting, used)
    for one in lasting:
        if one.id not in used:
            heads.warnings.append(one.source.problem(("filter", "rules"), "applies to no rule"))


def _filtered(parsed: ParsedRule, filters: Iterable[ParsedFilter], used: set[str]) -> ParsedRule:
    for one in filters:
        if not _is_for(one, parsed):
            continue
        used.add(one.id)
        if parsed.rule and one.condition:
            condition = And((parsed.rule.condition, one.condition))
            applied = (*parsed.rule.filters, one.id)
            rule = replace(parsed.rule, condition=condition, filters=applied)
            parsed = replace(parsed, rule=rule)
    return parsed


def _is_for(one: ParsedFilter, parsed: ParsedRule) -> bool:
    if not one.logsource.covers(parsed.logsource):
        return False
    names = {parsed.head.summary.id, parsed.head.name.lower()}
    return one.rules is None or bool(one.rules & names)
