# SPDX-License-Identifier: Apache-2.0
"""Our matcher against a second reading of the specification, over generated rules and events."""

import importlib.util
import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firedamp.policy.compile import compile_condition
from firedamp.policy.sigma import Detections
from firedamp.policy.view import FieldView
from firedamp.strict_yaml import Document

_SPEC = importlib.util.spec_from_file_location("reference", Path(__file__).parent / "reference.py")
reference = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(reference)

FIELDS = ["Image", "CommandLine", "ParentImage", "DestinationPort", "Denied"]
LETTERS = "abAB-/ .1\u00e9\u00c9"


def judged(detection, event):
    """What our matcher says of an event."""
    detections = Detections(
        Document(data={"detection": detection}, file="x", lines={}), "detection"
    )
    condition = detections.read(reserved=frozenset({"condition"}))
    assert condition is not None, (detections.problems, detections.obstacles)
    return compile_condition(condition)(view_of(event))


def view_of(event):
    """A view that shows these fields and no others."""
    view = FieldView.from_mapping("process_creation", event)
    view._fields.names = tuple(event)
    return view


texts = st.text(LETTERS, max_size=8)
patterns = st.text(LETTERS + "*?\\", min_size=1, max_size=6)
words = st.text("abAB-/ 1", min_size=1, max_size=5)
numbers = st.integers(-3, 12) | st.sampled_from([0.5, 443])

events = st.dictionaries(
    st.sampled_from(FIELDS),
    texts | numbers | st.booleans() | st.lists(texts, min_size=1, max_size=3).map(tuple),
    max_size=5,
)


def several(values):
    """One value, or a list of some."""
    return values | st.lists(values, min_size=1, max_size=4)


def items():
    """A key of a detection with its value."""
    field = st.sampled_from(FIELDS)

    def under(modifiers, values):
        return st.tuples(field.map(lambda name: "|".join([name, *modifiers])), values)

    plain = several(patterns | numbers | st.booleans() | st.none() | st.just(""))
    return st.one_of(
        under([], plain),
        under(["contains"], several(patterns)),
        under(["contains", "all"], st.lists(patterns, min_size=2, max_size=3)),
        under(["startswith"], several(patterns)),
        under(["endswith"], several(patterns)),
        under(["endswith", "cased"], several(patterns)),
        under(["cased"], several(patterns)),
        under(["windash", "contains"], several(st.text("ab -/", min_size=1, max_size=4))),
        under(["base64"], words),
        under(["base64offset", "contains"], words),
        under(["utf16le", "base64offset", "contains"], words),
        under(["re"], st.sampled_from(["a+b", "^a.*1$", "[-/]", "B|1", r"\.", "a$"])),
        under(["re", "i"], st.sampled_from(["A+B", "^b", "é"])),
        under(["exists"], st.booleans()),
        under(["fieldref"], field),
        under(["fieldref", "startswith"], field),
        under(["neq"], plain),
        *[under([one], numbers) for one in ("lt", "lte", "gt", "gte")],
    )


keywords = st.lists(st.text(LETTERS, min_size=1, max_size=3) | st.integers(0, 9), min_size=1)
maps = st.lists(items(), min_size=1, max_size=3).map(dict)
definitions = maps | keywords | st.lists(maps, min_size=1, max_size=3)
names = st.sampled_from(["sel_a", "sel_b", "filter", "_hidden"])


@st.composite
def rules(draw):
    """A detection with a condition over what it names."""
    named = draw(st.dictionaries(names, definitions, min_size=1, max_size=4))
    choices = list(named)
    if any(not name.startswith("_") for name in named):
        choices += ["1 of them", "all of them"]
    if any(name.startswith("sel_") for name in named):
        choices += ["1 of sel_*", "all of sel_*"]
    leaf = st.sampled_from(choices)
    tree = st.recursive(
        leaf,
        lambda inner: st.one_of(
            inner.map("not {}".format),
            st.tuples(inner, inner).map(lambda two: f"({two[0]} and {two[1]})"),
            st.tuples(inner, inner).map(lambda two: f"({two[0]} or {two[1]})"),
        ),
        max_leaves=4,
    )
    return {**named, "condition": draw(tree)}


@settings(max_examples=600, deadline=None)
@given(rules(), st.lists(events, min_size=1, max_size=4))
def test_matching_agrees_with_a_second_reading_of_the_specification(detection, seen):
    """
    Whatever the rule and the event, both readings come to the same answer.
    """
    for event in seen:
        assert judged(detection, event) is reference.matches(detection, event), event


@settings(max_examples=300, deadline=None)
@given(st.lists(patterns, min_size=1, max_size=40), st.lists(texts, min_size=1), st.booleans())
def test_many_patterns_together_match_as_each_alone(wanted, seen, inside):
    """
    Lists are compiled into sets, tuples and one expression; that must not be seen.
    """
    key = "Image|contains" if inside else "Image"
    detection = {"one": {key: wanted}, "condition": "one"}

    for text in seen:
        assert judged(detection, {"Image": text}) is reference.matches(detection, {"Image": text})


@pytest.mark.parametrize(
    ("key", "value", "held", "expected"),
    [
        ("Image", r"/bin/b\*sh", "/bin/b*sh", True),
        ("Image", r"/bin/b\*sh", "/bin/bash", False),
        ("Image", r"C:\\*", "C:\\windows", True),
        ("Image", "*", "", True),
        ("Image", "", "", True),
        ("Image", "", "x", False),
        ("Image", "a?c", "abc", True),
        ("Image", "a?c", "ac", False),
        ("Image", "?", "\u00df", True),
        ("Image", "a*c", "a\nc", True),
        ("Image|contains", "\u0391\u03a3", "\u0391\u03a3\u0392", True),
        ("Image|contains", "\u00c9", "r\u00e9sum\u00e9", True),
        ("Image|cased|contains", "\u00c9", "r\u00e9sum\u00e9", False),
        ("Image|startswith", "/TMP/", "/tmp/x", True),
        ("DestinationPort", 443, 443, True),
        ("DestinationPort", 443, "443", True),
        ("DestinationPort", "443", 443, True),
        ("DestinationPort|endswith", 43, 443, True),
        ("DestinationPort|gt", 442.5, 443, True),
        ("DestinationPort|gt", 400, "443", True),
        ("DestinationPort|lt", 400, "many", False),
        ("Initiated", "true", True, True),
        ("Initiated", True, "TRUE", True),
        ("Initiated", 1, True, False),
        ("Image", None, None, True),
        ("Image", None, "", False),
        ("Image|exists", True, "", True),
        ("Image|exists", False, None, True),
        ("Image|neq", "x", None, True),
        ("DestinationIp|cidr", "10.0.0.0/8", "10.255.0.1", True),
        ("DestinationIp|cidr", "10.0.0.0/8", "110.0.0.1", False),
        ("DestinationIp|cidr", "2001:db8::/32", "2001:DB8:0:1::5", True),
        ("DestinationIp|cidr", "::/0", "10.0.0.1", False),
        ("DestinationIp|cidr", "10.0.0.0/8", "no address", False),
        ("ImagePlace", "hidden", ("temporary", "hidden"), True),
        ("ImagePlace", "hidden", ("temporary",), False),
        ("ImagePlace|contains|all", ["tempo", "hid"], ("temporary", "hidden"), True),
        ("CommandLine|re", "^ls$", "ls -l", False),
        ("CommandLine|re", "LS", "ls -l", False),
        ("CommandLine|re|i", "LS", "ls -l", True),
        ("CommandLine|re|m", "^b$", "a\nb\nc", True),
        ("CommandLine|re", "a.b", "a\nb", False),
        ("CommandLine|re|s", "a.b", "a\nb", True),
        ("CommandLine|re|startswith", "b", "ab", False),
        ("CommandLine|re|endswith", "a|b", "ab", True),
        ("CommandLine|re|endswith", "a", "ab", False),
        ("CommandLine|re|contains", "a", "xay", True),
        ("CommandLine|windash|contains", " -x", "ls /x", True),
        ("CommandLine|base64offset|contains", "/bin/bash", "echo L2Jpbi9iYXNo", True),
        ("CommandLine|base64offset|contains", "/bin/bash", "echo IC9iaW4vYmFzaA==", True),
        ("CommandLine|utf16le|base64offset|contains", "bash", "YgBhAHMAaAA=", True),
        ("CommandLine|utf16be|base64", "ab", "AGEAYg==", True),
    ],
)
def test_edges_of_values_and_modifiers(key, value, held, expected):
    """
    Each modifier where it is easiest to get wrong.
    """
    detection = {"one": {key: value}, "condition": "one"}

    event = {} if held is None else {key.split("|")[0]: held}

    assert judged(detection, event) is expected


def test_fields_are_compared_with_one_another():
    """
    Fieldref takes the other side from the same event, without regard to case.
    """
    detection = {"one": {"Image|fieldref|endswith": "ProcessName"}, "condition": "one"}

    assert judged(detection, {"Image": "/usr/bin/Cat", "ProcessName": "cAT"})
    assert not judged(detection, {"Image": "/usr/bin/cat", "ProcessName": "dog"})
    assert not judged(detection, {"Image": "/usr/bin/cat"})

    detection = {"one": {"CommandLine|fieldref|contains": "ProcessName"}, "condition": "one"}
    assert judged(detection, {"CommandLine": "a Cat b", "ProcessName": "cAT"})
    assert not judged(detection, {"CommandLine": "a dog b", "ProcessName": "cat"})


def test_many_wildcards_stay_fast():
    """
    A pattern that would make a backtracking matcher run for years ends at once.
    """
    detection = {"one": {"Image": "*a" * 60 + "*b"}, "condition": "one"}

    assert not judged(detection, {"Image": "a" * 3000})
    assert judged(detection, {"Image": "a" * 3000 + "b"})


@given(st.text(string.printable, max_size=40))
def test_any_text_can_be_asked_for_literally(text):
    """
    Escaped, every text matches itself and nothing longer.
    """
    escaped = "".join(f"\\{one}" if one in "*?\\" else one for one in text)
    detection = {"one": {"Image": escaped}, "condition": "one"}

    assert judged(detection, {"Image": text})
    assert not judged(detection, {"Image": text + "x"})
