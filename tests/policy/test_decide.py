# SPDX-License-Identifier: Apache-2.0
"""Decisions: whether a policy may act, on whom, and with what."""

import pytest

from firedamp.context.host import HostContext
from firedamp.events.model import ConnectionOpened, FileChanged, ProcessForked, ProcessKey
from firedamp.policy.decide import decide, mode_of
from firedamp.policy.types import Alert, Evidence, Level, PolicySummary
from firedamp.policy.view import FieldView
from firedamp.settings import Policies, Settings

ID = "00000000-0000-4000-8000-000000000001"
SERVICE = ProcessKey(50, 1)
DROPPER, MINER, STRANGER = ProcessKey(100, 5), ProcessKey(101, 6), ProcessKey(200, 5)


def policy(**changes):
    """A stable policy that kills."""
    base = {
        "id": ID,
        "title": "Mining",
        "level": Level.CRITICAL,
        "status": "stable",
        "tags": (),
        "response": ("kill", "block", "freeze"),
    }
    return PolicySummary(**{**base, **changes})


def alert(host, *, evidence=(), category="mining_protocol", fields=None, **changes):
    """An alert about the miner."""
    view = FieldView.from_mapping(category, fields or {})
    return Alert(
        at_ns=1,
        policy=policy(**changes),
        category=category,
        event=view.observed.event,
        process=MINER,
        actor=host.tree.get(MINER).actor,
        incident="I1",
        fields=tuple((fields or {}).items()),
        evidence=evidence,
        summary="x said login",
    )


def evidence(process, **changes):
    """Evidence about a process."""
    base = {"policy_id": ID, "title": "t", "at_ns": 1, "category": "x", "summary": "s"}
    return Evidence(process=process, **{**base, **changes})


def opened(process, address, port, cookie):
    """A connection."""
    return ConnectionOpened(
        at_ns=1,
        process=process,
        cookie=cookie,
        transport="tcp",
        address=address,
        port=port,
        uid=0,
        denied=False,
    )


@pytest.fixture
def host():
    """A service that started a dropper, which started a miner; and a stranger."""
    host = HostContext()
    for child, parent in (
        (SERVICE, ProcessKey(1, 0)),
        (DROPPER, SERVICE),
        (MINER, DROPPER),
        (STRANGER, ProcessKey(1, 0)),
    ):
        host.observe(
            ProcessForked(at_ns=1, process=child, parent=parent, uid=0, cgroup_id=1, comm="x")
        )
    return host


def settings(mode="observe", **policies):
    """Settings in this mode."""
    return Settings(mode=mode, policies=Policies(**policies))


def test_no_response_is_no_decision(host):
    """
    Most policies only alert.
    """
    assert decide(alert(host, response=()), settings("enforce"), host) is None


def test_actions_come_in_the_order_of_acting(host):
    """
    Whatever the order in which they were asked for.
    """
    decision = decide(alert(host), settings(), host)

    assert decision.actions == ("freeze", "block", "kill")
    assert decision.target == MINER
    assert decision.reason == "Mining: x said login"


@pytest.mark.parametrize(
    ("changes", "chosen", "expected"),
    [
        ({}, settings("observe"), "observe"),
        ({}, settings("enforce"), "enforce"),
        ({}, settings("observe", enforce=(ID,)), "enforce"),
        ({}, settings("enforce", observe=(ID,)), "observe"),
        ({"observe_only": True}, settings("enforce"), "observe"),
        ({"observe_only": True}, settings("observe", enforce=(ID,)), "enforce"),
        ({"status": "test"}, settings("enforce"), "observe"),
        ({"status": "test"}, settings("observe", enforce=(ID,)), "enforce"),
        ({"status": "experimental"}, settings("enforce", enforce=(ID,)), "observe"),
        ({"status": ""}, settings("enforce", enforce=(ID,)), "observe"),
        ({"status": "test"}, settings("enforce", enforce=(ID,), observe=(ID,)), "observe"),
    ],
)
def test_status_and_settings_limit_power(changes, chosen, expected):
    """
    To act, everything must allow it; a doubt is enough not to.
    """
    assert mode_of(policy(**changes), chosen) == expected


def test_processes_are_those_that_the_evidence_names(host):
    """
    Never the whole actor, and nobody of another.
    """
    joined = evidence(DROPPER), evidence(MINER), evidence(STRANGER), evidence(DROPPER)

    decision = decide(alert(host, evidence=joined), settings(), host)

    assert host.tree.get(MINER).actor == host.tree.get(SERVICE).actor
    assert decision.related == (DROPPER,)


def test_addresses_are_those_that_the_alert_and_its_evidence_name(host):
    """
    Not a stranger's, nor others that the miner talks to: those the business may need.
    """
    host.observe(opened(MINER, "203.0.113.9", 5432, 1))
    named = {"category": "network_connection"}
    joined = (
        evidence(DROPPER, address=("203.0.113.8", 80), **named),
        evidence(MINER, address=("203.0.113.7", 3333), **named),
        evidence(STRANGER, address=("203.0.113.67", 80), **named),
    )
    fields = {"DestinationIp": "203.0.113.7", "DestinationPort": 3333}

    decision = decide(alert(host, evidence=joined, fields=fields), settings(), host)

    assert decision.addresses == (
        ("203.0.113.7", 3333),
        ("203.0.113.8", 80),
    )


def test_name_server_is_not_an_address_to_block(host):
    """
    It was only asked.
    """
    fields = {"DestinationIp": "9.9.9.9", "DestinationPort": 53, "QueryName": "pool.example"}

    decision = decide(alert(host, category="dns_query", fields=fields), settings(), host)

    assert decision.addresses == ()


def test_files_are_those_that_this_actor_changed(host):
    """
    From the alert and from its evidence, each once.
    """
    joined = (
        evidence(DROPPER, file="/etc/cron.d/x"),
        evidence(STRANGER, file="/etc/cron.d/y"),
        evidence(MINER, file="/etc/ld.so.preload"),
    )
    fields = {"TargetFilename": "/etc/ld.so.preload"}

    changed = alert(host, evidence=joined, category="file_event", fields=fields)
    deleted = alert(host, category="file_delete", fields=fields)

    assert decide(changed, settings(), host).files == ("/etc/ld.so.preload", "/etc/cron.d/x")
    assert decide(deleted, settings(), host).files == ()


def test_what_the_actor_changed_is_told_to_who_cleans(host):
    """
    Whichever of its processes did it; and only where the policy has something cleaned.
    """
    for process, path in ((DROPPER, "/etc/crontab"), (STRANGER, "/etc/cron.d/other")):
        host.observe(
            FileChanged(
                at_ns=1,
                process=process,
                path=path,
                old_path="",
                operation="write",
                place="cron",
                inode=1,
                device=1,
                uid=0,
                added_lines=("x",),
            )
        )

    cleaning = decide(alert(host, response=("clean", "kill")), settings(), host)
    killing = decide(alert(host, response=("kill",)), settings(), host)

    assert [(one.process, one.path) for one in cleaning.changes] == [(DROPPER, "/etc/crontab")]
    assert killing.changes == ()
