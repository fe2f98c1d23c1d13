# SPDX-License-Identifier: Apache-2.0
"""What an explanation says is what the engine does."""

import json
from pathlib import Path

import pytest

from firedamp.cli import main
from firedamp.policy.compile import compile_condition
from firedamp.policy.explain import explain, lines, value_text
from firedamp.policy.files import Place
from firedamp.policy.ir import (
    And,
    Compare,
    Comparison,
    Exists,
    Network,
    Not,
    Null,
    Number,
    Or,
    Regex,
    SameAs,
    Text,
    Wildcard,
)
from firedamp.policy.load import load_policies
from firedamp.policy.view import FieldView

POLICIES = Path(__file__).parents[2] / "policies"
IMAGE = Comparison("Image", Text((Wildcard.ANY, "/x")))
PORT = Comparison("DestinationPort", Compare("gt", 1000))
USER = Comparison("User", Null())


def view(**fields):
    """An event."""
    return FieldView.from_mapping("process_creation", fields)


def test_every_part_says_what_it_saw():
    """
    Those that were not needed for the verdict, too.
    """
    condition = And((IMAGE, Or((PORT, USER)), Not(USER)))

    told = list(lines(explain(condition, view(Image="/tmp/x", DestinationPort=22, User="a"))))

    assert told == [
        "no   all of",
        "  yes  Image is '*/x'  (is '/tmp/x')",
        "  no   any of",
        "    no   DestinationPort > 1000  (is 22)",
        "    no   User is not there  (is 'a')",
        "  yes  not",
        "    no   User is not there  (is 'a')",
    ]


def test_long_list_that_fails_is_cut():
    """
    And one that holds is shown by what holds, first.
    """
    several = tuple(Comparison("Image", Text((f"/{n}",))) for n in range(100))

    failed = list(lines(explain(Or(several), view(Image="/x"))))
    held = list(lines(explain(Or(several), view(Image="/77"))))

    assert len(failed) == 7
    assert failed[-1] == "  no   95 more alternatives"
    assert held[:2] == ["yes  any of", "  yes  Image is '/77'  (is '/77')"]


def cases():
    """Every event of the tests that shipped rules carry, with its rule."""
    for rule in load_policies([Place(path=POLICIES, shipped=True)]).policies.rules:
        for case in rule.cases:
            for number, event in enumerate(case.events):
                if event.category == rule.category:
                    name = f"{Path(rule.summary.path).stem}: {case.name} {number}"
                    yield pytest.param(rule, event, id=name)


@pytest.mark.parametrize(("rule", "event"), [*cases()])
def test_verdict_is_the_engines(rule, event):
    """
    An explanation that says otherwise would be worse than none.
    """
    seen = FieldView.from_mapping(event.category, dict(event.fields))

    assert explain(rule.condition, seen).holds == compile_condition(rule.condition)(seen)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Text(("a", Wildcard.ONE), cased=True), "is exactly 'a?'"),
        (Text(()), "is ''"),
        (Regex("a+", frozenset("i"), at_start=True), "has /^a+/i"),
        (Number(3), "= 3"),
        (Exists(expected=False), "is not there"),
        (Exists(expected=True), "is there"),
        (Network("192.0.2.0/24"), "in 192.0.2.0/24"),
        (Compare("lte", 3), "<= 3"),
        (SameAs("ParentImage"), "is the same as ParentImage"),
        (SameAs("ParentImage", at_end=True), "ends with ParentImage"),
    ],
)
def test_values_are_said_in_words(value, text):
    """
    Every kind of them.
    """
    assert value_text(value) == text


HIDDEN = "4f6ab1c3-93d4-4c61-9b43-6f1d0c1e8a25"


def explained(capsys, event, *more):
    """The command's answer for an event of the shipped policies."""
    status = main(["policy", "explain", *more, event, str(POLICIES)])
    return status, capsys.readouterr()


def test_command_shows_what_matches_and_why(capsys):
    """
    In full where it matches; of the others the name.
    """
    event = "{category: process_creation, ImagePlace: [hidden]}"

    status, told = explained(capsys, event)

    assert status == 0
    assert told.out.startswith("matches: Program runs from a hidden directory [medium")
    assert "yes  ImagePlace is 'hidden'" in told.out
    assert "Masquerade is" not in told.out
    assert "1 of " in told.out.splitlines()[-1]


def test_rule_that_is_asked_about_is_shown_in_full(capsys):
    """
    Also where it does not match.
    """
    event = "{category: process_creation, Image: /usr/bin/ls}"

    _, told = explained(capsys, event, "--policy", "kernel thread")

    assert "no match: Program runs under the name of a kernel thread" in told.out
    assert "no   Masquerade is 'kernel_thread'  (is not there)" in told.out
    assert "hidden directory" not in told.out


def test_alert_document_is_an_event(capsys):
    """
    As `firedamp alerts --json` prints it.
    """
    document = {
        "event": {"action": "process-creation"},
        "firedamp": {"fields": {"ImagePlace": ["hidden"], "Image": "/tmp/.x/a"}},
    }

    _, told = explained(capsys, json.dumps(document), "--json")

    first = json.loads(told.out)[0]
    assert (first["id"], first["matches"]) == (HIDDEN, True)


@pytest.mark.parametrize(
    ("event", "why"),
    [
        ("{category: nonsense}", "category: one of"),
        ("[1]", "a map is wanted"),
        ("{category: dns_query, QueryName: {a: 1}}", "not a field's value"),
        ("{category: dns_query", "EVENT:"),
    ],
)
def test_what_is_no_event_is_said(capsys, event, why):
    """
    With the status of wrong use.
    """
    status, told = explained(capsys, event)

    assert status == 2
    assert why in told.err
