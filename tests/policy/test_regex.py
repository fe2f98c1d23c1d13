# SPDX-License-Identifier: Apache-2.0
"""Regular expressions: linear in time, and told apart by texts that they need."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firedamp.errors import PolicyError
from firedamp.policy.ir import Regex
from firedamp.policy.matchers import regex_predicate
from firedamp.policy.regex_needles import regex_needles
from firedamp.policy.view import fold

PATTERNS = [
    r"\b(?:curl|wget)\b.*\|\s*(?:ba|da)?sh\b",
    r"https?://[^/]+/x",
    r"(?i)Base64\s+-d",
    r"(ab){2,3}cd?",
    r"(?:foo)?bar*baz+",
    r"^kthr.tlds$",
    r"[ab]cde|fg[hi]jk",
    r"a\|bc\.de",
    r"(?:xy(?i:Zs)|uvw)q",
    r"x(?:yz)*w",
    r"\u00e9tat.final",
]


@pytest.mark.parametrize("ignore_case", [False, True])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_whatever_matches_holds_a_needle(pattern, ignore_case):
    """
    Else the expression would not be run where it would be found.
    """
    needles = regex_needles(pattern, ignore_case=ignore_case)
    prefix = "(?i)" if ignore_case and not pattern.startswith("(?i)") else ""

    @settings(max_examples=60, deadline=None)
    @given(st.from_regex(prefix + pattern))
    def check(text):
        assert not needles or any(needle in fold(text) for needle in needles)

    check()


@pytest.mark.parametrize(
    ("pattern", "needles"),
    [
        (r"\b(?:curl|wget)\b.*sh", {"curl", "wget"}),
        (r"(?:curl|w)\b", set()),
        (r"(?:curl)?x", set()),
        (r"(?:curl)+x", {"curl"}),
        (r"Curl.*downloads", {"downloads"}),
        (r"a.b", set()),
        (r"(?!curl)", set()),
        (r"(?i)masks", {"ma"}),
        (r"(?i:masks)", {"ma"}),
        (r"x?TmpDir", {"tmpdir"}),
        (r"\x{41}curl", set()),
        (r"(" * 3000 + "curl" + ")" * 3000, set()),
    ],
)
def test_needles_of_an_expression(pattern, needles):
    """
    The rarest that are certain; none where none is, or where it cannot be told.
    """
    assert regex_needles(pattern, ignore_case=False) == needles


@pytest.mark.parametrize(
    "pattern",
    [
        r"\b(?:curl|wget)\b.*(?:/tmp/|/dev/shm/).*\bchmod\s+x",
        r"(a+)+$",
        r"(?:a|a)*b",
    ],
)
def test_hostile_command_line_costs_no_time(pattern):
    """
    Every account can start programs with arguments that make a backtracking engine run for years.
    """
    found = regex_predicate(Regex(pattern))
    hostile = "curl /tmp/ chmod " * 2000 + "a" * 5000 + "!"

    started = time.monotonic()
    assert not found(hostile)

    assert time.monotonic() - started < 0.5


def test_text_that_is_no_text_can_be_looked_through():
    """
    Arguments are bytes; what does not decode comes as lone surrogates.
    """
    assert regex_predicate(Regex("curl.*tmp"))("curl \udcff\udc80 /tmp")


@pytest.mark.parametrize("pattern", ["(", r"(?<=a)b", r"(a)\1", "a" * 5000, "(?:a{1000}){1000}"])
def test_expression_that_cannot_be_run_is_refused(pattern, capfd):
    """
    With the reason, and without a word on stderr.
    """
    with pytest.raises(PolicyError, match="regular expression"):
        regex_predicate(Regex(pattern))

    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("pattern", [r"(?<=a)b", r"(a)\1", "(?:a{1000}){1000}"])
def test_rule_with_such_an_expression_is_refused(rule, load, pattern, capfd):
    """
    As the file is loaded, with its place.
    """
    path = rule(f"detection: {{one: {{Image|re: '{pattern}'}}, condition: one}}")

    with pytest.raises(PolicyError) as caught:
        load()

    assert str(caught.value).startswith(f"{path}:6: detection.one.Image|re:")
    assert capfd.readouterr().err == ""
