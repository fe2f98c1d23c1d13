# SPDX-License-Identifier: Apache-2.0
import io

import pytest

from firedamp.alerts.console import Console, readable
from firedamp.alerts.ecs import action_document, alert_document, loss_document
from firedamp.alerts.entries import alert_entry
from firedamp.events.model import ProcessKey, RecordsLost
from firedamp.policy.types import Evidence
from firedamp.response.base import Receipt


@pytest.fixture(autouse=True)
def utc(monkeypatch):
    """Times are shown as they are here."""
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_alert_is_a_line_with_its_details_below(alert, process, origin):
    """
    The level and the sentence first; incident, technique, rule, evidence and steps after.
    """
    key = ProcessKey(1, 2)
    evidence = Evidence(
        policy_id="p", title="Hidden place", at_ns=0, process=key, category="c", summary="/tmp/.x"
    )
    receipts = [
        Receipt(action="quarantine", outcome="done", target="/tmp/x", id=12),
        Receipt(action="kill", outcome="done", target="pid 4711", id=13),
    ]
    document = alert_document(alert(evidence=(evidence,)), process, origin, receipts=receipts)

    first, *rest = readable(document, colour=False)

    assert first == (
        "01:00:00 CRITICAL kswapd0 (/tmp/.x/kswapd0, pid 4711, www-data) gave evidence: /tmp/.x "
        "[Process speaks the Stratum mining protocol] — quarantined, killed"
    )
    assert rest == [
        "         incident 3f2a · T1496.001 · 0f2d0000-0000-4000-8000-000000000000",
        "         evidence 00:00:00 Hidden place: /tmp/.x",
        "         quarantine done /tmp/x (firedamp undo 12)",
        "         kill       done pid 4711",
    ]


def test_action_is_one_line(alert, decide, origin):
    """
    A step that comes later than its alert.
    """
    receipt = Receipt(action="block", outcome="refused", target="127.0.0.1", reason="loopback")
    document = action_document(decide(alert()), receipt, origin, at_ns=0)

    assert list(readable(document, colour=False, dates=True)) == [
        "2026-11-23 00:00:00 block      refused 127.0.0.1: loopback"
    ]


def test_loss_is_named_as_such(origin):
    """
    A loss has no level.
    """
    event = RecordsLost(at_ns=0, process=ProcessKey(0, 0), source="bpf", kind="exec", count=3)

    [line] = readable(loss_document(event, origin), colour=False)

    assert line.startswith("00:00:00 LOSS 3 exec records of bpf were lost")


def test_colours_are_for_terminals_alone(alert, process, origin):
    """
    A file or a pipe gets plain text.
    """

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    entry = alert_entry(alert(), process, origin, decision=None, receipts=())
    pipe, terminal = io.StringIO(), Terminal()
    Console(pipe).write(entry)
    Console(terminal).write(entry)

    assert "\x1b" not in pipe.getvalue()
    assert "\x1b[1;37;41mCRITICAL\x1b[0m" in terminal.getvalue()


HOSTILE = "\x1b[2J\nx"


@pytest.mark.parametrize(
    "document",
    [
        {"message": HOSTILE, "@timestamp": HOSTILE, "firedamp": {"kind": HOSTILE}},
        {"message": 7, "firedamp": {"kind": "alert", "level": HOSTILE, "incident": HOSTILE,
                                    "evidence": [{"rule": {"name": HOSTILE}, "at": HOSTILE}, 3],
                                    "actions": [{"action": HOSTILE, "outcome": HOSTILE,
                                                 "target": HOSTILE, "reason": HOSTILE}]},
         "threat": {"technique": {"id": [HOSTILE]}}, "rule": {"id": HOSTILE}},
        {"firedamp": {"kind": "action", "actions": [{"outcome": "done", "id": HOSTILE}]}},
        {"firedamp": 3},
        {},
    ],
)  # fmt: skip
def test_document_that_was_forged_cannot_take_the_terminal_over(document):
    """
    Old alerts are read from files and a journal that others can write to.
    """
    for line in readable(document, colour=True):
        assert "\x1b[2J" not in line
        assert "\n" not in line
