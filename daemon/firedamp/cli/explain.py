# SPDX-License-Identifier: Apache-2.0
"""`firedamp policy explain`: why each rule matches an event, or does not."""

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from firedamp.cli.exits import OK, USAGE
from firedamp.cli.options import print_json

if TYPE_CHECKING:
    from firedamp.policy.explain import Finding
    from firedamp.policy.ir import Rule
    from firedamp.policy.view import FieldView

_WANTED: Final = "EVENT: a map is wanted: {category: process_creation, Image: /tmp/x}"


def explain_event(text: str, rules: "Iterable[Rule]", *, wanted: str, as_json: bool) -> int:
    """0, whether anything matches or not; 2 if it is not an event of a known category.

    Args:
        text: a YAML or JSON map with `category` and fields, or an alert's document; `-` for
            either on standard input.
        rules: those to be asked.
        wanted: a part of an id or of a title; with it, rules are shown in full that do not match.
        as_json: for programs.
    """
    from firedamp.policy.explain import explain

    try:
        view = _view(sys.stdin.read() if text == "-" else text)
    except ValueError as error:
        print(f"firedamp: {error}", file=sys.stderr)
        return USAGE
    asked = [
        (rule, explain(rule.condition, view))
        for rule in rules
        if rule.category == view.category and _is_wanted(rule, wanted)
    ]
    asked.sort(key=lambda one: not one[1].holds)
    if as_json:
        print_json([_document(rule, finding) for rule, finding in asked])
        return OK
    for rule, finding in asked:
        print("\n".join(_lines(rule, finding, in_full=finding.holds or bool(wanted))))
    matching = sum(finding.holds for _, finding in asked)
    print(f"{matching} of {len(asked)} rules about {view.category} match")
    return OK


def _view(text: str) -> "FieldView":
    """The event's view.

    Raises:
        ValueError: it is not an event.
    """
    from firedamp.policy.fields import CATEGORIES
    from firedamp.policy.view import FieldView
    from firedamp.strict_yaml import YamlError, load

    try:
        data = load(text, file="EVENT").data
    except YamlError as error:
        raise ValueError(str(error)) from error
    if not isinstance(data, dict):
        raise ValueError(_WANTED)  # noqa: TRY004 - it is somebody's text that is wrong
    own = data.get("firedamp")
    if isinstance(own, dict) and isinstance(own.get("fields"), dict):
        action = str(dict(data.get("event") or {}).get("action", ""))
        data = {**own["fields"], "category": action.replace("-", "_")}
    category = data.pop("category", None)
    if category not in CATEGORIES:
        raise ValueError(f"EVENT: category: one of {', '.join(sorted(CATEGORIES))}")
    try:
        return FieldView.from_mapping(str(category), data)
    except TypeError as error:
        raise ValueError(f"EVENT: {error}") from error


def _is_wanted(rule: "Rule", wanted: str) -> bool:
    text = wanted.lower()
    return text in rule.summary.id or text in rule.summary.title.lower()


def _lines(rule: "Rule", finding: "Finding", *, in_full: bool) -> Iterator[str]:
    from firedamp.policy.explain import lines

    summary = rule.summary
    verdict = "matches" if finding.holds else "no match"
    evidence = "" if rule.raises else ", evidence only"
    yield f"{verdict}: {summary.title} [{summary.level.name.lower()}{evidence}] {summary.id}"
    if in_full:
        yield from lines(finding, depth=1)


def _document(rule: "Rule", finding: "Finding") -> dict[str, Any]:
    summary = rule.summary
    return {
        "id": summary.id,
        "title": summary.title,
        "matches": finding.holds,
        "condition": _plain(finding),
    }


def _plain(finding: "Finding") -> dict[str, Any]:
    plain: dict[str, Any] = {"holds": finding.holds, "asks": finding.text}
    if finding.saw:
        plain["saw"] = finding.saw
    if finding.parts:
        plain["parts"] = [_plain(one) for one in finding.parts]
    return plain
