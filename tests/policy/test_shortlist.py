# SPDX-License-Identifier: Apache-2.0
"""Shortlists: they may be generous, never stingy."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firedamp.policy import shortlist
from firedamp.policy.compile import compile_condition, compile_policies
from firedamp.policy.demand import demand_on, needles_in
from firedamp.policy.engine import Engine
from firedamp.policy.ir import (
    And,
    Compare,
    Comparison,
    Exists,
    Not,
    Null,
    Or,
    PolicySet,
    Rule,
    Text,
    Wildcard,
)
from firedamp.policy.types import Level, PolicySummary
from firedamp.policy.view import FieldView

KEYS = ("Image", "ParentImage")
LETTERS = "abA"

words = st.text(LETTERS, min_size=1, max_size=3)
shapes = st.one_of(
    words.map(lambda word: (word,)),
    words.map(lambda word: (Wildcard.ANY, word)),
    words.map(lambda word: (word, Wildcard.ANY)),
    words.map(lambda word: (Wildcard.ANY, word, Wildcard.ANY)),
    st.just(()),
)
values = st.one_of(
    st.builds(Text, shapes, st.booleans()),
    st.just(Null()),
    st.builds(Exists, st.booleans()),
    st.builds(Compare, st.just("gte"), st.integers(0, 3)),
)
fields = st.sampled_from(["Image", "ParentImage", "CommandLine", "User", None])


def leaf(field, value):
    """A comparison; keywords can only be text."""
    return Comparison(field, value if field or isinstance(value, Text) else Text(("a",)))


conditions = st.recursive(
    st.builds(leaf, fields, values),
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.lists(inner, min_size=1, max_size=3).map(lambda items: And(tuple(items))),
        st.lists(inner, min_size=1, max_size=3).map(lambda items: Or(tuple(items))),
    ),
    max_leaves=8,
)
texts = st.text(LETTERS, max_size=5)
events = st.dictionaries(
    st.sampled_from(["Image", "ParentImage", "CommandLine", "User"]),
    texts | st.lists(texts, min_size=1, max_size=2).map(tuple) | st.integers(0, 3),
)


def rule(number, condition):
    """A rule with this condition."""
    summary = PolicySummary(
        id=str(number), title="", level=Level.HIGH, status="stable", tags=(), response=()
    )
    return Rule(summary=summary, category="process_creation", condition=condition, every_s=0)


def view(event):
    """The event as policies see it."""
    return FieldView.from_mapping("process_creation", event)


@settings(max_examples=400, deadline=None)
@given(conditions, events)
def test_what_meets_a_condition_meets_its_demand(condition, event):
    """
    A rule that is left out for its key fields could not have matched.
    """
    demand = demand_on(KEYS, condition)

    if compile_condition(condition)(view(event)):
        assert demand is None or compile_condition(demand)(view(event))


@settings(max_examples=400, deadline=None)
@given(conditions, events)
def test_what_meets_a_condition_holds_one_of_its_needles(condition, event):
    """
    A rule that is left out for its needles could not have matched.
    """
    needles = needles_in("CommandLine", condition)
    held = event.get("CommandLine", "")
    held = held if isinstance(held, tuple) else (str(held),)

    if needles is not None and compile_condition(condition)(view(event)):
        assert any(needle in one.lower() for needle in needles for one in held)


@settings(max_examples=200, deadline=None)
@given(st.lists(conditions, min_size=1, max_size=12), st.lists(events, min_size=1, max_size=6))
def test_engine_finds_what_each_rule_alone_finds(several, seen):
    """
    Whatever is remembered from event to event.
    """
    rules = tuple(rule(number, one) for number, one in enumerate(several))
    engine = Engine(compile_policies(PolicySet(rules=rules)), boot_id="")
    alone = [compile_condition(one.condition) for one in rules]

    for event in [*seen, *seen]:
        found = {int(alert.policy.id) for alert in engine.feed(view(event))}
        assert found == {n for n, matches in enumerate(alone) if matches(view(event))}


@pytest.mark.parametrize(
    ("condition", "needles"),
    [
        (Comparison("CommandLine", Text((Wildcard.ANY, "Curl", Wildcard.ANY))), {"curl"}),
        (Comparison("CommandLine", Text(("a", Wildcard.ONE, "bcd"))), {"bcd"}),
        (Comparison("Image", Text(("curl",))), None),
        (Not(Comparison("CommandLine", Text(("curl",)))), None),
    ],
)
def test_needles_are_the_longest_texts(condition, needles):
    """
    Long ones are rare.
    """
    assert needles_in("CommandLine", condition) == needles


def test_rules_for_another_image_are_not_evaluated():
    """
    This is what makes it fast; without it all tests here would pass as well.
    """
    mine = rule(1, Comparison("Image", Text((Wildcard.ANY, "/curl"))))
    needle = rule(2, Comparison("CommandLine", Text((Wildcard.ANY, "evil", Wildcard.ANY))))
    others = [rule(n, Comparison("Image", Text((f"/bin/{n}",)))) for n in range(3, 50)]
    compiled = compile_policies(PolicySet(rules=(mine, needle, *others)))
    found = compiled.shortlists["process_creation"].of

    dull = found(view({"Image": "/usr/bin/curl", "CommandLine": "curl x"}))
    evil = found(view({"Image": "/usr/bin/curl", "CommandLine": "curl Evil"}))

    assert [one.rule.summary.id for one in dull] == ["1"]
    assert [one.rule.summary.id for one in evil] == ["1", "2"]

    several = found(view({"Image": "/usr/bin/curl", "CommandLine": ("a", "so evil")}))
    assert [one.rule.summary.id for one in several] == ["1", "2"]


def test_memory_of_a_shortlist_is_bounded(monkeypatch):
    """
    Names can be made up without end.
    """
    monkeypatch.setattr(shortlist, "MAX_REMEMBERED", 10)
    one = rule(1, Comparison("Image", Text(("/a",))))
    found = compile_policies(PolicySet(rules=(one,))).shortlists["process_creation"]

    for number in range(100):
        found.of(view({"Image": f"/{number}"}))

    assert len(found) <= 10
    assert found.of(view({"Image": "/a"}))
