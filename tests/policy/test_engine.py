# SPDX-License-Identifier: Apache-2.0
"""The engine: which alerts there are, what they say, and how many of the same."""

import pickle

import pytest

from firedamp.events.model import ProcessKey
from firedamp.policy.compile import compile_policies
from firedamp.policy.engine import Engine
from firedamp.policy.ratelimit import BURST, MAX_REMEMBERED, RateLimit
from firedamp.policy.types import Level
from firedamp.policy.view import FieldView

MINING = (
    "logsource: {category: mining_protocol}\ndetection: {one: {Method: login}, condition: one}\n"
)


@pytest.fixture
def engine(load):
    """An engine over what the test wrote."""
    return lambda: Engine(compile_policies(load().policies), boot_id="boot")


def login(at_s, actor="1:1", **fields):
    """A miner's login."""
    stated = {"Method": "login", "Protocol": "stratum-monero", "ActorId": actor, **fields}
    return FieldView.from_mapping("mining_protocol", stated, at_s=at_s)


def test_alert_says_who_did_what(rule, engine):
    """
    A person reads the sentence; a program the fields under their Sigma names.
    """
    rule(MINING)
    view = login(
        3,
        Image="/tmp/.x/kswapd0",
        User="www-data",
        ProcessId=4711,
        DestinationIp="203.0.113.7",
        DestinationPort=443,
        Login="44AFF",
        CommandLine=None,
    )

    [alert] = engine().feed(view)

    assert alert.summary == (
        "kswapd0[4711] (/tmp/.x/kswapd0, as www-data) said login in stratum-monero as 44AFF"
        " to 203.0.113.7:443"
    )
    assert dict(alert.fields)["DestinationPort"] == 443
    assert "CommandLine" not in dict(alert.fields)
    assert (alert.at_ns, alert.process, alert.actor) == (3 * 10**9, (4711, 1), (1, 1))
    assert alert.policy.level is Level.HIGH
    assert alert.evidence == ()


def test_incident_is_named_after_the_actor_and_the_boot(rule, engine):
    """
    The same on every run over the same events, different for every actor.
    """
    rule(MINING)

    [first], [again], [other] = (engine().feed(login(1, who)) for who in ("1:1", "1:1", "2:1"))

    assert first.incident == again.incident != other.incident
    assert first.incident.startswith("I")
    assert len(first.incident) == 9


def test_event_of_another_category_matches_nothing(rule, engine):
    """
    Fields of the same name mean other things elsewhere.
    """
    rule(MINING)

    view = FieldView.from_mapping("network_connection", {"Method": "login"})

    assert engine().feed(view) == []


def test_same_alert_is_raised_once_in_its_time_and_then_says_how_often(rule, engine):
    """
    `every: 60s` for an actor; the next one carries what was held back.
    """
    rule(MINING)
    running = engine()

    raised = [alert for at in (0, 1, 2, 61, 62) for alert in running.feed(login(at))]

    assert [alert.at_ns // 10**9 for alert in raised] == [0, 61]
    assert [alert.suppressed for alert in raised] == [0, 2]
    assert running.suppressed == 3


def test_other_actors_are_not_held_back(rule, engine):
    """
    A noisy neighbour must not hide anybody.
    """
    rule(MINING)
    running = engine()

    assert [len(running.feed(login(1, f"{n}:1"))) for n in range(3)] == [1, 1, 1]


def test_policy_can_say_how_often(rule, engine):
    """
    `every: 0s` raises every one.
    """
    rule(MINING + "firedamp: {every: 0s, blind_spots: x}")
    running = engine()

    assert [len(running.feed(login(1))) for _ in range(3)] == [1, 1, 1]


def test_next_process_of_a_family_is_not_safe_where_something_is_done(rule, engine):
    """
    A respawned miner, another address: each is acted on, up to a burst.
    """
    rule(MINING + "firedamp: {response: [kill], blind_spots: x}")
    running = engine()

    def raised(**fields):
        return len(running.feed(login(1, **fields)))

    assert raised(ProcessId=10) == 1
    assert raised(ProcessId=10) == 0
    assert raised(ProcessId=11) == 1
    assert raised(ProcessId=11, DestinationIp="203.0.113.7", DestinationPort=1) == 1
    assert sum(raised(ProcessId=100 + n) for n in range(100)) == BURST - 3


def test_without_a_response_other_processes_of_the_actor_say_nothing_new(rule, engine):
    """
    One alert tells a person as much as forty.
    """
    rule(MINING)
    running = engine()

    assert [len(running.feed(login(1, ProcessId=pid))) for pid in (10, 11, 12)] == [1, 0, 0]


def test_reload_does_not_repeat_what_was_just_raised(rule, engine):
    """
    The rate limits live on.
    """
    rule(MINING)
    old = engine()
    assert len(old.feed(login(1))) == 1

    assert Engine(engine().compiled, boot_id="boot", before=old).feed(login(2)) == []


def test_rate_limits_memory_is_bounded(rule, load):
    """
    Actors come and go for months.
    """
    rule(MINING)
    [policy] = load().policies.rules
    limit = RateLimit()

    for number in range(MAX_REMEMBERED + 100):
        limit.admit(policy, ProcessKey(number, 1), (), at_ns=0)

    assert limit.admit(policy, ProcessKey(MAX_REMEMBERED + 99, 1), (), at_ns=1) is None
    assert limit.admit(policy, ProcessKey(0, 1), (), at_ns=1) == 0


def test_alerts_of_any_event_pickle(rule, engine):
    """
    They are handed over between processes.
    """
    rule(MINING)

    alerts = engine().feed(login(1))

    assert pickle.loads(pickle.dumps(alerts)) == alerts


@pytest.mark.parametrize(
    ("category", "fields", "sentence"),
    [
        (
            "process_creation",
            {"Image": "/tmp/x", "CommandLine": "./x -o", "ParentImage": "/bin/sh"},
            "x (/tmp/x) ran `./x -o`, started by /bin/sh",
        ),
        (
            "network_connection",
            {"DestinationIp": "2001:db8::1", "DestinationPort": 3333, "Denied": True},
            "a process connected to [2001:db8::1]:3333, refused",
        ),
        (
            "network_connection",
            {
                "DestinationIp": "203.0.113.1",
                "DestinationPort": 80,
                "DestinationHostname": ["a.example", "b.example"],
            },
            "a process connected to 203.0.113.1:80 (a.example)",
        ),
        ("dns_query", {"QueryName": "pool.example"}, "a process asked for the name pool.example"),
        (
            "file_event",
            {"TargetFilename": "/etc/cron.d/x", "Place": "cron", "Operation": "create"},
            "a process changed /etc/cron.d/x (cron): create",
        ),
        (
            "process_cpu",
            {"Cores": 3.96, "WindowSeconds": 60, "ProcessName": "x", "ProcessId": 7},
            "x[7] kept 4.0 cores busy for 60 s",
        ),
        (
            "records_lost",
            {"Count": 7, "Kind": "exec", "Source": "bpf"},
            "a process lost 7 exec records of bpf",
        ),
    ],
)
def test_every_category_has_its_words(category, fields, sentence):
    """
    What happened, in the terms of what it is.
    """
    from firedamp.policy.evidence import sentence as said

    assert said(FieldView.from_mapping(category, fields)) == sentence


def test_long_command_lines_are_cut_in_sentences():
    """
    The whole stands among the fields.
    """
    from firedamp.policy.evidence import sentence

    view = FieldView.from_mapping("process_creation", {"CommandLine": "x" * 5000})

    assert len(sentence(view)) < 250
