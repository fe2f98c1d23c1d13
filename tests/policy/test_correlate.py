# SPDX-License-Identifier: Apache-2.0
"""Correlations: what they join, in which order of time, how often they fire, what they forget."""

import pytest

from firedamp.errors import PolicyError
from firedamp.policy import correlate
from firedamp.policy.compile import compile_policies
from firedamp.policy.engine import Engine
from firedamp.policy.view import FieldView

KINDS = ("exec", "net", "cpu")
RULES = {
    "exec": ("process_creation", "Image: /tmp/x"),
    "net": ("network_connection", "DestinationPort: 3333"),
    "cpu": ("process_cpu", "Cores|gte: 1"),
}
EVENTS = {
    "exec": {"Image": "/tmp/x"},
    "net": {"DestinationPort": 3333, "DestinationIp": "203.0.113.7"},
    "cpu": {"Cores": 2.0, "WindowSeconds": 60},
}


@pytest.fixture
def engine(rule, write, load):
    """An engine with one evidence rule a kind, and the correlation that a test describes."""

    def engine(correlation, *, extension=""):
        for number, (name, (category, fields)) in enumerate(RULES.items(), start=1):
            rule(
                f"logsource: {{product: linux, category: {category}}}\n"
                f"detection: {{one: {{{fields}}}, condition: one}}\n"
                "firedamp: {alert: false, blind_spots: x}\n",
                number=number,
                name=name,
            )
        text = "title: joined\nid: 00000000-0000-4000-8000-00000000000c\nstatus: stable\n"
        write(f"{text}correlation: {correlation}\n{extension}", name="correlation.yml")
        return Engine(compile_policies(load().policies), boot_id="test")

    return engine


def seen(kind, at_s, actor="1:1", **fields):
    """An event that is evidence of this kind."""
    stated = {**EVENTS[kind], "ActorId": actor, **fields}
    return FieldView.from_mapping(RULES[kind][0], stated, at_s=at_s)


def times(engine, *views):
    """When, in seconds, the events made the correlation fire."""
    return [alert.at_ns / 1e9 for view in views for alert in engine.feed(view)]


TEMPORAL = "{type: temporal, rules: [exec, net, cpu], group-by: [ActorId], timespan: 10s}"
ORDERED = "{type: temporal_ordered, rules: [exec, net, cpu], group-by: [ActorId], timespan: 10s}"
TWO_OF_THREE = TEMPORAL.replace("10s}", "10s, condition: {gte: 2}}")
COUNT = "{type: event_count, rules: [net], group-by: [ActorId], timespan: 10s, condition: {gte: 3}}"
VALUES = (
    "{type: value_count, rules: [net], group-by: [ActorId], timespan: 10s,"
    " condition: {field: DestinationIp, gte: 3}}"
)


def test_temporal_fires_when_the_last_kind_joins(engine):
    """
    In whatever order, within the timespan, for one group.
    """
    assert times(engine(TEMPORAL), seen("cpu", 1), seen("exec", 4), seen("net", 9)) == [9]


def test_temporal_does_not_reach_beyond_its_timespan(engine):
    """
    Ten seconds and a little are too long.
    """
    views = seen("cpu", 1), seen("exec", 4), seen("net", 11.001)

    assert times(engine(TEMPORAL), *views) == []


def test_groups_are_kept_apart(engine):
    """
    What one actor does is no evidence against another.
    """
    views = seen("cpu", 1, "7:1"), seen("exec", 2, "8:1"), seen("net", 3, "7:1")

    assert times(engine(TEMPORAL), *views) == []


def test_event_without_the_groups_field_belongs_to_no_group(engine):
    """
    Unknown is not a value that unknowns share.
    """
    running = engine(COUNT.replace("ActorId", "DestinationIp"))

    assert times(running, *[seen("net", at, DestinationIp=None) for at in range(5)]) == []
    assert times(running, *[seen("net", at) for at in range(6, 9)]) == [8]


def test_some_of_the_kinds_can_be_enough(engine):
    """
    `gte: 2` of three rules.
    """
    assert times(engine(TWO_OF_THREE), seen("cpu", 1), seen("cpu", 2), seen("net", 3)) == [3]


def test_alert_carries_the_evidence_oldest_first(engine):
    """
    One incident, with a sentence for each part.
    """
    running = engine(TEMPORAL)
    views = seen("cpu", 1), seen("exec", 4), seen("net", 9)

    [alert] = [alert for view in views for alert in running.feed(view)]

    assert [one.title for one in alert.evidence] == ["Rule 3", "Rule 1", "Rule 2"]
    assert alert.evidence[2].address == ("203.0.113.7", 3333)
    assert "2.0 cores" in alert.evidence[0].summary
    assert alert.policy.title == "joined"
    assert alert.category == "network_connection"


def test_ordered_wants_the_order(engine):
    """
    The same events, in the order of the rules and in another.
    """
    assert times(engine(ORDERED), seen("exec", 1), seen("net", 2), seen("cpu", 3)) == [3]
    assert times(engine(ORDERED), seen("net", 1), seen("exec", 2), seen("cpu", 3)) == []


def test_ordered_takes_what_is_simultaneous_as_ordered(engine):
    """
    No clock can tell them apart.
    """
    assert times(engine(ORDERED), seen("exec", 1), seen("net", 1), seen("cpu", 1)) == [1]


def test_ordered_finds_an_order_among_repeated_events(engine):
    """
    An event that came too early may come again.
    """
    kinds = ["cpu", "net", "exec", "exec", "net", "exec", "cpu"]

    views = [seen(kind, at) for at, kind in enumerate(kinds)]

    assert times(engine(ORDERED), *views) == [6]


def test_late_events_take_their_place_in_time(engine):
    """
    Sources differ in how fast they deliver; what counts is when it happened.
    """
    assert times(engine(ORDERED), seen("cpu", 3), seen("net", 2), seen("exec", 1)) == [1]
    assert times(engine(ORDERED), seen("exec", 3), seen("net", 2), seen("cpu", 1)) == []


def test_event_that_is_too_late_changes_nothing(engine):
    """
    It lies outside the window that ends with the newest.
    """
    views = seen("exec", 100), seen("net", 101), seen("cpu", 80)

    assert times(engine(TEMPORAL), *views) == []


def test_same_event_twice_counts_once(engine):
    """
    Two sources may report one thing.
    """
    views = seen("net", 1), seen("net", 1), seen("net", 2), seen("net", 2)

    assert times(engine(COUNT), *views) == []
    assert times(engine(COUNT), *views, seen("net", 3)) == [3]


def test_events_at_the_same_time_that_differ_count_each(engine):
    """
    Only the same event is a duplicate.
    """
    views = [seen("net", 1, DestinationIp=f"203.0.113.{n}") for n in range(3)]

    assert times(engine(COUNT), *views) == [1]


def test_count_looks_at_a_sliding_window(engine):
    """
    Three in any ten seconds, not in fixed ones.
    """
    views = [seen("net", at) for at in (1, 9, 12, 18.5)]

    assert times(engine(COUNT), *views) == [18.5]


@pytest.mark.parametrize(
    ("condition", "fires_at"),
    [
        ("{gt: 2}", [3]),
        ("{gte: 2}", [2]),
        ("{eq: 4}", [4]),
        ("{gt: 1, lte: 2}", [2]),
        ("{lt: 2}", [1]),
        ("{neq: 1}", [2]),
    ],
)
def test_conditions_of_counts(engine, condition, fires_at):
    """
    Each operator, and the range that the specification has besides.
    """
    running = engine(COUNT.replace("{gte: 3}", condition))

    assert times(running, *[seen("net", at) for at in range(1, 6)]) == fires_at


def test_distinct_values_are_counted(engine):
    """
    The same value again is not another.
    """
    addresses = ["203.0.113.1", "203.0.113.2", "203.0.113.1", "203.0.113.2", "203.0.113.3"]

    views = [seen("net", at, DestinationIp=one) for at, one in enumerate(addresses)]

    assert times(engine(VALUES), *views) == [4]


def test_value_that_comes_again_late_keeps_its_newest_time(engine):
    """
    Else a late duplicate would age the value out of the window.
    """
    views = [
        seen("net", 9, DestinationIp="203.0.113.1"),
        seen("net", 1, DestinationIp="203.0.113.1"),
        seen("net", 12, DestinationIp="203.0.113.2"),
        seen("net", 15, DestinationIp="203.0.113.3"),
    ]

    assert times(engine(VALUES), *views) == [15]


def test_group_is_silent_for_the_timespan_after_it_fired(engine):
    """
    One incident, not forty alerts.
    """
    views = [seen("net", at / 2) for at in range(2, 60)]

    assert times(engine(COUNT), *views) == [2, 12, 22]


def test_new_kind_of_evidence_breaks_the_silence(engine):
    """
    The incident grows as evidence comes.
    """
    views = seen("exec", 1), seen("net", 2), seen("net", 3), seen("cpu", 4), seen("cpu", 5)

    assert times(engine(TWO_OF_THREE), *views) == [2, 4]


def test_new_process_breaks_the_silence_only_where_something_is_done(engine):
    """
    A watchdog's next miner must not be safe because the last one was just seen.
    """
    views = [
        seen("exec", 1),
        seen("net", 2),
        seen("net", 3, ProcessId=77),
        seen("net", 5, ProcessId=78),
        seen("net", 8, ProcessId=78),
    ]
    acting = "firedamp: {response: [freeze], every: 3s, blind_spots: x}"
    telling = "firedamp: {every: 3s, blind_spots: x}"

    assert times(engine(TWO_OF_THREE, extension=telling), *views) == [2]
    assert times(engine(TWO_OF_THREE, extension=acting), *views) == [2, 5]


def test_extended_condition_joins_rules_by_words(engine):
    """
    The specification's newer form.
    """
    words = TEMPORAL.replace("10s}", "10s, condition: exec and (net or cpu)}")
    unless = TEMPORAL.replace("10s}", "10s, condition: exec and net and not cpu}")

    assert times(engine(words), seen("net", 1), seen("cpu", 2), seen("exec", 3)) == [3]
    assert times(engine(unless), seen("exec", 1), seen("cpu", 2), seen("net", 3)) == []
    assert times(engine(unless), seen("exec", 1), seen("net", 3)) == [3]


def test_aliases_join_fields_of_different_names(engine):
    """
    One rule's Image is another's ParentImage.
    """
    running = engine(
        "{type: temporal, rules: [exec, net], group-by: [program], timespan: 10s,"
        " aliases: {program: {exec: Image, net: ParentImage}}}"
    )

    assert times(running, seen("exec", 1), seen("net", 2, ParentImage="/tmp/y")) == []
    assert times(running, seen("net", 3, ParentImage="/tmp/x")) == [3]


def test_correlations_can_be_chained(engine, write):
    """
    What one joins is evidence for the next, and its evidence is kept.
    """
    write(
        """
        title: outer
        id: 00000000-0000-4000-8000-00000000000d
        status: stable
        correlation:
          type: temporal
          rules: [00000000-0000-4000-8000-00000000000c, exec]
          group-by: [ActorId]
          timespan: 1m
          generate: true
        """,
        name="a_outer.yml",
    )
    running = engine(COUNT)
    views = [seen("exec", 0), *[seen("net", at) for at in (1, 2, 3)]]

    alerts = [alert for view in views for alert in running.feed(view)]

    assert [alert.policy.title for alert in alerts] == ["joined", "outer"]
    assert [one.at_ns for one in alerts[1].evidence] == [0, 10**9, 2 * 10**9, 3 * 10**9]


def test_memory_is_bounded_and_what_is_evicted_is_counted(engine, monkeypatch):
    """
    Whoever makes many groups pushes out those that have been quiet for longest.
    """
    monkeypatch.setattr(correlate, "MAX_GROUPS", 10)
    running = engine(TEMPORAL)

    times(running, *[seen("exec", 1 + n / 1000, f"{n}:1") for n in range(50)])

    assert running.evicted == 40
    assert times(running, seen("net", 2, "49:1"), seen("cpu", 2, "49:1")) == [2]
    assert times(running, seen("net", 2, "5:1"), seen("cpu", 2, "5:1")) == []


def test_groups_that_went_quiet_are_forgotten_without_being_counted(engine, monkeypatch):
    """
    That is what a timespan is for.
    """
    monkeypatch.setattr(correlate, "MAX_GROUPS", 10)
    running = engine(TEMPORAL)

    times(running, *[seen("exec", n * 20, f"{n}:1") for n in range(50)])

    assert running.evicted == 0
    assert running.remembered == 1


def test_flood_of_one_kind_does_not_push_out_the_others(engine):
    """
    Hiding one trace under a thousand of another must not work.
    """
    running = engine(TEMPORAL)
    times(running, *[seen("exec", n / 1000) for n in range(20)])
    times(running, *[seen("net", 1 + n / 1000) for n in range(2000)])

    [alert] = running.feed(seen("cpu", 9))

    assert running.remembered == 2 * correlate.MAX_PER_MEMBER + 1
    assert len(alert.evidence) == correlate.MAX_EVIDENCE


def test_flood_in_one_group_is_bounded(engine):
    """
    A count needs no more than it counts to.
    """
    running = engine(COUNT.replace("gte: 3", "gte: 100"))
    views = [seen("net", 1 + n / 1000) for n in range(2000)]

    [alert] = [alert for view in views for alert in running.feed(view)]

    assert running.remembered == 101
    assert len(alert.evidence) == correlate.MAX_EVIDENCE
    assert alert.evidence[-1].at_ns == alert.at_ns


@pytest.mark.parametrize(
    ("correlation", "complaint"),
    [
        (TEMPORAL.replace("cpu", "nobody"), "there is no policy nobody"),
        (TEMPORAL.replace("[exec, net, cpu]", "[]"), "must be ids or names"),
        (TEMPORAL.replace("net, cpu", "net, net"), "names a rule twice"),
        (TEMPORAL.replace("10s", "5M"), "must be in s, m, h, d or w"),
        (TEMPORAL.replace("10s", "9999999999d"), "not be more than 30 days"),
        (TEMPORAL.replace("temporal", "timely"), "no valid Sigma correlation type"),
        (TEMPORAL.replace("ActorId", "ActroId"), "did you mean ActorId?"),
        (TEMPORAL.replace("10s}", "10s, windows: 5}"), "unknown key"),
        (COUNT.replace("gte: 3", "gte: many"), "whole number"),
        (COUNT.replace("gte: 3", "gte: -3"), "negative"),
        (COUNT.replace(", condition: {gte: 3}", ""), "without condition"),
        (VALUES.replace("field: DestinationIp, ", ""), "without field"),
        (ORDERED.replace("10s}", "10s, condition: {gte: 2}}"), "met by all of its rules"),
        (TEMPORAL.replace("net, cpu", "00000000-0000-4000-8000-00000000000c"), "refers to itself"),
    ],
)
def test_unsound_correlations_are_refused(engine, correlation, complaint):
    """
    With the place and the reason.
    """
    with pytest.raises(PolicyError, match=r"correlation\.yml:\d+: correlation") as caught:
        engine(correlation)

    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("correlation", "reason"),
    [
        (VALUES.replace("value_count", "value_sum"), "value_sum, which is not run yet"),
        (COUNT.replace("gte: 3", "gte: 100000"), "counts to more than 5000"),
    ],
)
def test_sound_correlations_that_are_not_run_are_listed(engine, correlation, reason):
    """
    Nothing is left out without a reason.
    """
    [one] = engine(correlation).compiled.inapplicable

    assert reason in one.reason


def test_chain_of_correlations_is_bounded(write, rule, load):
    """
    Two thousand correlations that refer to each other must not exhaust the stack.
    """
    rule("detection: {one: {Image: x}, condition: one}", name="c0")
    for number in range(1, 2000):
        write(
            f"title: c{number}\nname: c{number}\ncorrelation: {{type: event_count,"
            f" rules: [c{number - 1}], group-by: [ActorId], timespan: 1m, condition: {{gte: 1}}}}",
            name=f"c{2000 - number:04}.yml",
        )

    with pytest.raises(PolicyError, match="too deep a chain"):
        load()


def test_rules_are_silent_where_a_correlation_takes_their_place(rule, write, load):
    """
    As the specification has it, unless `generate` says otherwise or a response hangs on them.
    """
    body = "detection: {one: {Image: x}, condition: one}\n"
    rule(body, number=1, name="plain")
    rule(body + "firedamp: {response: [kill], blind_spots: x}", number=2, name="acting")
    rule(body + "firedamp: {alert: true, blind_spots: x}", number=3, name="loud")
    text = (
        "title: c\nid: 00000000-0000-4000-8000-00000000000c\ncorrelation: {type: temporal,"
        " rules: [plain, acting, loud], group-by: [ActorId], timespan: 1m, generate: %s}"
    )

    write(text % "false", name="c.yml")
    silent = [one.raises for one in load().policies.rules]
    write(text % "true", name="c.yml")
    aloud = [one.raises for one in load().policies.rules]

    assert silent == [False, True, True]
    assert aloud == [True, True, True]


def test_correlation_over_a_rule_that_cannot_apply_cannot_apply(rule, write, load):
    """
    It could never be met, and says why.
    """
    rule(
        "logsource: {product: linux, service: sshd}\ndetection: {one: [x], condition: one}",
        name="ssh",
    )
    write(
        "title: c\nid: 00000000-0000-4000-8000-00000000000c\ncorrelation: {type: event_count,"
        " rules: [ssh], group-by: [User], timespan: 1m, condition: {gte: 5}}",
        name="c.yml",
    )

    reasons = {one.title: one.reason for one in load().policies.inapplicable}

    assert reasons["c"].startswith("refers to ssh, which reads what the service sshd logs")


def test_reload_keeps_what_unchanged_correlations_remember(engine):
    """
    An attacker must not be forgotten because somebody edits a policy.
    """
    old = engine(COUNT)
    times(old, seen("net", 1), seen("net", 2))

    same = Engine(engine(COUNT).compiled, boot_id="test", before=old)
    other = Engine(engine(COUNT.replace("10s", "11s")).compiled, boot_id="test", before=old)

    assert times(other, seen("net", 3)) == []
    assert times(same, seen("net", 3)) == [3]


def test_evidence_only_correlations_raise_nothing(engine):
    """
    `alert: false` holds for correlations too.
    """
    running = engine(COUNT, extension="firedamp: {alert: false, blind_spots: x}")

    assert times(running, *[seen("net", at) for at in range(5)]) == []
