# SPDX-License-Identifier: Apache-2.0
"""Events as JSON and back."""

import contextlib
import dataclasses
import json
import os
import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firedamp.errors import DecodeError
from firedamp.events.model import Event, PayloadSeen, ProcessExited, ProcessKey
from firedamp.events.serial import EVENTS, from_plain, to_plain

TEXTS = st.binary(max_size=20).map(os.fsdecode) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=20
)
NUMBERS = st.integers(0, 2**64 - 1)
VALUES = {
    str: TEXTS,
    int: NUMBERS,
    bool: st.booleans(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bytes: st.binary(max_size=40),
    ProcessKey: st.builds(ProcessKey, NUMBERS, NUMBERS),
    tuple[str, ...]: st.lists(TEXTS, max_size=4).map(tuple),
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
EXITED = ProcessExited(at_ns=1, process=ProcessKey(2, 3), exit_code=0, cpu_ns=4)


def events_of(kind: type[Event]) -> st.SearchStrategy[Event]:
    """Events of a class with anything in their fields."""
    hints = typing.get_type_hints(kind)
    choices = {
        one.name: st.sampled_from(typing.get_args(hints[one.name]))
        if typing.get_origin(hints[one.name]) is typing.Literal
        else VALUES[hints[one.name]]
        for one in dataclasses.fields(kind)
    }
    return st.builds(kind, **choices)


def carried(event: Event) -> Event:
    """The event after a way through a file."""
    return from_plain(json.loads(json.dumps(to_plain(event)).encode("ascii")))


@given(st.sampled_from(EVENTS).flatmap(events_of))
def test_what_comes_back_is_what_went_in(event):
    """
    Of every class, with any bytes in its texts.
    """
    back = carried(event)

    assert type(back) is type(event)
    assert back == event


def test_every_class_of_events_has_its_place():
    """
    A new class is carried without being named anywhere.
    """
    assert {one.__name__ for one in EVENTS} >= {"ProcessFound", "FileChanged", "CpuSustained"}
    assert Event not in EVENTS


def test_field_with_a_default_may_be_absent():
    """
    Recordings of older versions do not have what was added since.
    """
    plain = {
        "event": "FileChanged", "at_ns": 1, "process": [2, 3], "path": "/a", "old_path": "",
        "operation": "write", "place": "cron", "inode": 1, "device": 2, "uid": 0,
    }  # fmt: skip

    assert from_plain(plain).added_lines == ()


@given(st.sampled_from(EVENTS).flatmap(events_of), st.data())
def test_anything_else_is_refused_in_order(event, data):
    """
    A field of another type, one too few or one too many is a DecodeError and nothing else.
    """
    plain = json.loads(json.dumps(to_plain(event)))
    name = data.draw(st.sampled_from([*plain, "nonsense"]))
    value = data.draw(JSON)
    changed = {**plain, name: value}

    with contextlib.suppress(DecodeError):
        assert json.loads(json.dumps(to_plain(from_plain(changed)))) == changed
    with contextlib.suppress(DecodeError):
        from_plain(value)


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("at_ns", True, "at_ns: not a whole number"),
        ("at_ns", 1.0, "at_ns: not a whole number"),
        ("at_ns", 2**64, "at_ns: not a whole number"),
        ("process", [1], "process: not a PID"),
        ("process", [1, "2"], "process: not a whole number"),
        ("nonsense", 1, "nonsense is unknown"),
        ("event", "Process", "known class"),
        ("event", ["ProcessExited"], "known class"),
    ],
)
def test_wrong_field_is_named(field, value, why):
    """
    So that whoever wrote the file can find it.
    """
    with pytest.raises(DecodeError, match=why):
        from_plain({**to_plain(EXITED), field: value})


def test_missing_field_is_named():
    """
    A line that lost a part is not an event with a default.
    """
    plain = to_plain(EXITED)
    del plain["cpu_ns"]

    with pytest.raises(DecodeError, match="cpu_ns is missing"):
        from_plain(plain)


@pytest.mark.parametrize("data", ["a", "YQ", "Y Q==", "ä", 1])
def test_bytes_are_base64_and_nothing_like_it(data):
    """
    What a lenient decoder would skip is damage here.
    """
    seen = PayloadSeen(
        at_ns=1, process=ProcessKey(2, 3), cookie=1, direction="in", transport="tcp",
        address="203.0.113.7", port=3333, sequence=1, length=1, data=b"a",
    )  # fmt: skip
    assert from_plain(to_plain(seen)) == seen

    with pytest.raises(DecodeError, match="Base64"):
        from_plain({**to_plain(seen), "data": data})


def test_enormous_float_is_refused_in_order():
    """
    A whole number of any size is a number to JSON.
    """
    plain = {
        "event": "CpuSustained", "at_ns": 1, "process": [2, 3], "cores": 10**400, "window_s": 1,
        "threads": 1,
    }  # fmt: skip

    with pytest.raises(DecodeError, match="cores"):
        from_plain(plain)
