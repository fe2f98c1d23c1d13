# SPDX-License-Identifier: Apache-2.0
"""The tests that policies carry: they fail when they should."""

import pytest

from firedamp.policy.cases import Cases

HEAD = """
logsource: {category: file_event}
detection: {one: {Place: cron}, condition: one}
"""


def extension(*cases, response="[]"):
    """A `firedamp:` key with these tests, each of events and what is expected."""
    lines = [f"firedamp:\n  response: {response}\n  blind_spots: x\n  tests:"]
    for number, (events, expected) in enumerate(cases):
        lines.append(f"    - {{name: case {number}, events: {events}, expect: {expected}}}")
    return "\n".join(lines) + "\n"


@pytest.fixture
def failures(load):
    """What the loaded policies' own tests say."""
    return lambda: [str(one) for one in Cases(load().unfiltered).failures()]


CRON, OTHER = "[{category: file_event, Place: cron}]", "[{category: file_event, Place: systemd}]"


def test_cases_that_hold_say_nothing(rule, failures):
    """
    One that fires, one that does not, and one in another category.
    """
    elsewhere = "[{category: file_delete, Place: cron}]"
    rule(
        HEAD
        + extension(
            (CRON, "{alert: true, response: [kill]}"),
            (OTHER, "{alert: false}"),
            (elsewhere, "{alert: false}"),
            response="[kill]",
        )
    )

    assert failures() == []


@pytest.mark.parametrize(
    ("events", "expected", "text"),
    [
        (CRON, "{alert: false}", "expected silence, got an alert"),
        (OTHER, "{alert: true}", "expected an alert, got silence"),
        (CRON, "{alert: true, response: [freeze]}", "expected response freeze, got kill"),
        (CRON, "{alert: true, response: []}", "expected response none, got kill"),
        (OTHER, "{alert: false, response: [kill]}", "expected response kill, got none"),
    ],
)
def test_case_that_fails_says_where_and_how(rule, failures, events, expected, text):
    """
    File, line, policy, case, what was expected and what came.
    """
    path = rule(HEAD + extension((events, expected), response="[kill]"))

    [failure] = failures()

    assert failure == f"{path}:12: Rule 1: case 0: {text}"


def test_case_of_evidence_only_policies_asks_whether_they_match(rule, failures):
    """
    They raise nothing of their own, and must be testable all the same.
    """
    text = extension((CRON, "{alert: true}"), (OTHER, "{alert: false}"))
    rule(HEAD + text.replace("response: []", "alert: false"))

    assert failures() == []


def test_correlations_cases_run_through_all_policies(rule, write, failures):
    """
    With `at` in seconds, in order of time whatever the order in the file.
    """
    rule(HEAD, name="cron")
    text = """
        title: burst
        id: 00000000-0000-4000-8000-00000000000c
        correlation:
          {type: event_count, rules: [cron], group-by: [ActorId], timespan: 10s,
           condition: {gte: 2}}
    """
    near = "[{category: file_event, Place: cron, at: 5}, {category: file_event, Place: cron}]"
    far = "[{category: file_event, Place: cron, at: 50}, {category: file_event, Place: cron}]"
    mixed = far.replace("]", ", {category: file_event, Place: cron, at: 5}]")
    path = write(text, name="c.yml")
    cases = extension(
        (near, "{alert: true}"),
        (mixed, "{alert: true}"),
        (far, "{alert: false}"),
        (far, "{alert: true}"),
    )
    path.write_text(path.read_text() + cases)

    [failure] = failures()

    assert "burst: case 3: expected an alert, got silence" in failure


def test_filters_of_the_site_do_not_fail_a_policys_own_tests(rule, write, failures):
    """
    The exception is the administrator's business.
    """
    rule(HEAD + extension((CRON, "{alert: true}")))
    write(
        """
        title: ours
        id: 00000000-0000-4000-8000-00000000000f
        logsource: {category: file_event}
        filter: {rules: any, ours: {Place: cron}, condition: not ours}
        """,
        name="f.yml",
    )

    assert failures() == []


def test_cases_of_chosen_files_alone(rule, load):
    """
    Somebody who works on one file need not hear of the others.
    """
    first = rule(HEAD + extension((CRON, "{alert: false}")), number=1)
    rule(HEAD + extension((CRON, "{alert: false}")), number=2)
    cases = Cases(load().unfiltered)

    assert len(cases.failures()) == 2
    assert [one.path for one in cases.failures({str(first)})] == [str(first)]
