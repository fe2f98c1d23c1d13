# SPDX-License-Identifier: Apache-2.0
import contextlib
import os
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from firedamp.strict_yaml import Limits, YamlError, load, load_all, read


def data(text: str) -> object:
    """What a document means."""
    return load(text, file="f.yaml").data


def refusal(text: str, **limits: int) -> str:
    """Why a file is refused."""
    with pytest.raises(YamlError) as caught:
        load(text, file="f.yaml", limits=Limits(**limits))
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("0", 0),
        ("-17", -17),
        ("18446744073709551617", 18446744073709551617),
        ("1.50", 1.5),
        ("2.5e3", 2500.0),
        ("'1'", "1"),
        ('"true"', "true"),
        ("!!str 5", "5"),
    ],
)
def test_plain_scalars_have_their_obvious_type(text, value):
    """
    Decimal numbers, true, false and null are what they look like; quotes make text.
    """
    [found] = data(f"- {text}")

    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "text",
    ["yes", "no", "on", "off", "y", "0777", "0x1f", "0o17", "12:30:45", "2026-01-01", "1e3",
     "1_000", ".inf", ".5", "1.", "NaN", "tRue", "=", "1.2.3.4", "5M"],
)  # fmt: skip
def test_what_yaml_1_1_would_change_stays_text(text):
    """
    The surprises of YAML 1.1: none of these is a boolean, a number or a time.
    """
    assert data(f"- {text}") == [text]


def test_keys_are_text_as_written():
    """
    A key is never turned into a boolean, a number or nothing.
    """
    assert data("yes: 1\n7: 2\nnull: 3\n'a b': 4") == {"yes": 1, "7": 2, "null": 3, "a b": 4}


def test_every_value_knows_its_line():
    """
    The line of a key, of a list item, and of a value inside both.
    """
    document = load("a: 1\nb:\n  - x\n  - c:\n      d: |\n        text\n", file="f.yaml")

    assert document.line_of(("b",)) == 2
    assert document.line_of(("b", 0)) == 3
    assert document.line_of(("b", 1, "c", "d")) == 5


def test_what_is_not_there_is_looked_for_around():
    """
    An error about a missing key points to the map in which it is missing.
    """
    document = load("a: 1\nb:\n  c: 1\n", file="f.yaml")

    assert document.line_of(("b", "missing", 3)) == 2
    assert document.line_of(()) == 1


def test_duplicate_keys_are_refused_all_at_once():
    """
    Each is named with both of its lines.
    """
    text = "a: 1\nb:\n  c: 1\n  c: 2\na: 3\n"

    assert refusal(text).splitlines() == [
        "f.yaml:4: b.c: stands twice in the same map, first on line 3",
        "f.yaml:5: a: stands twice in the same map, first on line 1",
    ]


def test_same_key_in_two_maps_is_no_duplicate():
    """
    Only within one map must a key be unique.
    """
    assert data("- a: 1\n- a: 2\n") == [{"a": 1}, {"a": 2}]


def test_anchor_repeats_a_value():
    """
    A list that is needed twice can be written once.
    """
    assert data("a: &x [1, 2]\nb: *x\nc: *x\n") == {"a": [1, 2], "b": [1, 2], "c": [1, 2]}


def test_aliases_cannot_blow_a_file_up():
    """
    Nine lines that stand for a billion values are refused before anybody walks through them.
    """
    lines = ["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [
        f"{y}: &{y} [{', '.join([f'*{x}'] * 9)}]" for x, y in zip("abcdefg", "bcdefgh", strict=True)
    ]

    assert "more than 50000 values" in refusal("\n".join(lines), aliases=1000)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: 1\nb: &a [*a]", "f.yaml:2: b[0]: *a has no anchor before it"),
        ("a: &x 1\n<<: *x", "merge keys"),
        ("a: !!python/object/apply:os.system [x]", "f.yaml:1: a: tags are not supported"),
        ("a: !!binary aGk=", "tags are not supported"),
        ("? [a]\n: b", "a key must be text"),
        ("a: &k x\nb: {*k : 1}", "a key must be text"),
        ("a: 1\n---\nb: 1", "f.yaml:2: more than 1 document"),
        ("a: 1\nb: [", "f.yaml:3: "),
        ("a: b: c", "f.yaml:1: mapping values are not allowed"),
        ("a: \x07", "not text"),
        ("a: \ud800", "not text"),
    ],
)
def test_what_we_do_not_take_is_refused_with_its_line(text, reason):
    """
    Nothing is guessed, and nothing is built that could act.
    """
    assert reason in refusal(text)


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("a: " + "x" * 100, {"size_bytes": 100}),
        ("a: " + "ä" * 60, {"size_bytes": 100}),
        ("[[[1]]]", {"depth": 2}),
        ("[1, 2, 3]", {"nodes": 3}),
        ("[&a 1, *a, *a]", {"aliases": 1}),
    ],
)
def test_limits_are_limits(text, limits):
    """
    One more than allowed is refused; without the limit, the file is fine.
    """
    refusal(text, **limits)

    data(text)


@pytest.mark.parametrize("text", ["[" * 900_000, "{" * 900_000, "- " * 400_000, "? " * 400_000])
def test_deep_nesting_is_refused_quickly(text):
    """
    Neither the stack nor the time runs out.
    """
    before = time.monotonic()

    refusal(text)

    assert time.monotonic() - before < 1


def test_several_documents_can_be_asked_for():
    """
    Each has its own values, anchors and lines of the one file.
    """
    first, second = load_all("a: 1\n---\nb: 2\n", file="f.yaml", limits=Limits(documents=2))

    assert (first.data, second.data) == ({"a": 1}, {"b": 2})
    assert second.line_of(("b",)) == 3


def test_empty_file_holds_nothing():
    """
    So does one with comments alone.
    """
    assert data("") is None
    assert data("# nothing\n") is None


def test_file_that_is_no_file_does_not_hold_up_anybody(tmp_path):
    """
    A FIFO without a writer would block a careless reader for ever.
    """
    os.mkfifo(tmp_path / "f.yaml")

    with pytest.raises(YamlError, match="not a regular file"):
        read(tmp_path / "f.yaml")


def test_bytes_that_are_no_text_are_named_with_their_line(tmp_path):
    """
    Latin-1 is the usual cause.
    """
    (tmp_path / "f.yaml").write_bytes(b"a: 1\nb: gr\xfcn\n")

    with pytest.raises(YamlError, match=r"f\.yaml:2: not UTF-8"):
        read(tmp_path / "f.yaml")


def test_size_is_limited_before_the_file_is_in_memory(tmp_path):
    """
    No more is read than is needed to know.
    """
    (tmp_path / "f.yaml").write_bytes(b"#" * 2000)

    with pytest.raises(YamlError, match="larger than 1000 bytes"):
        read(tmp_path / "f.yaml", limits=Limits(size_bytes=1000))


@given(st.text(alphabet=" \n-:?[]{},&*!|>'\"%@`#<~ab01.\t\r\x85é", max_size=80))
def test_no_text_escapes_as_another_error(text):
    """
    Files come from strangers.
    """
    with contextlib.suppress(YamlError):
        load(text, file="f.yaml")


SCALARS = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.text(max_size=20)


@given(
    st.recursive(
        SCALARS,
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
        ),
        max_leaves=20,
    )
)
def test_what_another_program_writes_is_read_back(value):
    """
    Quoted as PyYAML quotes it, every value survives.
    """
    assert (
        data(yaml.safe_dump(value, default_style='"' if isinstance(value, str) else None)) == value
    )
