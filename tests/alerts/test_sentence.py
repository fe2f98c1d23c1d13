# SPDX-License-Identifier: Apache-2.0
import dataclasses
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firedamp.alerts.plain import plain, unicode_text
from firedamp.alerts.sentence import action_sentence, alert_sentence
from firedamp.context.process import Process
from firedamp.events.model import UNKNOWN_PROCESS, ProcessKey
from firedamp.policy.types import ActionName, Evidence
from firedamp.response.base import Outcome, Receipt

WHO = {"Image": "/tmp/x", "ProcessName": "x", "User": "bob"}


def test_sentence_says_who_what_where_why_and_what_of_it(alert, decide, process):
    """
    All that an administrator needs to decide whether to get up.
    """
    sentence = alert_sentence(alert(), process, decision=decide(alert()))

    assert sentence == (
        "kswapd0 (/tmp/.x/kswapd0, pid 4711, www-data) logged in to a mining pool at "
        "203.0.113.7:3333 (stratum-monero) [Process speaks the Stratum mining protocol] "
        "— would freeze, kill"
    )


def test_name_that_was_asked_for_is_shown_with_the_address(alert, process):
    """
    IPv6 addresses stand in brackets before the port.
    """
    fields = dict(alert().fields) | {
        "DestinationIp": "2001:db8::7",
        "DestinationHostname": ("pool.example",),
    }

    assert "at pool.example ([2001:db8::7]:3333)" in alert_sentence(alert(fields=fields), process)


def test_what_was_done_is_told_by_outcome(alert, process):
    """
    Done, refused and failed steps do not hide one another; a step counts once.
    """
    receipts = [
        Receipt(action="freeze", outcome="done", target="pid 1"),
        Receipt(action="freeze", outcome="done", target="pid 2"),
        Receipt(action="capture", outcome="done", target="pid 1"),
        Receipt(action="quarantine", outcome="refused", target="/usr/bin/perl"),
        Receipt(action="block", outcome="failed", target="203.0.113.7"),
        Receipt(action="clean", outcome="nothing-to-do", target="-"),
    ]

    sentence = alert_sentence(alert(), process, receipts=receipts)

    assert sentence.endswith(
        "— froze, captured evidence; refused to quarantine; failed to block; nothing to clean"
    )


def test_enforcing_decision_without_receipts_announces_itself(alert, decide, process):
    """
    The alert goes out before the action where it must.
    """
    sentence = alert_sentence(alert(), process, decision=decide(alert(), "enforce"))

    assert sentence.endswith("— about to freeze, kill")


def test_alert_that_asks_for_nothing_promises_nothing(alert, process):
    """
    No consequence, no dash.
    """
    assert alert_sentence(alert(), process).endswith("mining protocol]")


@pytest.mark.parametrize(
    ("category", "fields", "said"),
    [
        ("mining_protocol", {"Method": "mining.subscribe", "DestinationIp": "::1",
                             "DestinationPort": 1, "Protocol": "stratum-v1"},
         "spoke to a mining pool at [::1]:1 (stratum-v1) (mining.subscribe)"),
        ("mining_protocol", {"Method": "job", "Direction": "in"}, "was given work by a mining"),
        ("mining_protocol", {"Method": "login", "Login": "4" * 95}, "as 44444444444444444444444…"),
        ("process_creation", {"ImageOrigin": "memory", "CommandLine": "x -a", "ParentImage": "/l"},
         "was started from memory, without a file as `x -a`, by /l"),
        ("process_creation", {"Masquerade": ("kernel_thread",)}, "disguised (kernel_thread)"),
        ("process_creation", {"IsFound": True}, "was found running"),
        ("process_rename", {"OldProcessName": "a"}, "gave itself the name x, was a"),
        ("process_termination", {"ExitSignal": 9}, "was ended by signal 9"),
        ("process_cpu", {"Cores": 3.94, "WindowSeconds": 60}, "kept 3.9 cores busy for 60 s"),
        ("network_connection", {"DestinationIp": "192.0.2.1", "DestinationPort": 3333,
                                "Protocol": "tcp", "Denied": True},
         "was refused a connection to 192.0.2.1:3333 (tcp)"),
        ("dns_query", {"QueryName": "pool.example"}, "asked for the name pool.example"),
        ("dns_answer", {"QueryName": "p.example", "QueryResults": ("1.1.1.1", "2", "3", "4")},
         "was told that p.example is 1.1.1.1, 2, 3, and 1 more"),
        ("file_event", {"Operation": "create", "TargetFilename": "/etc/cron.d/x", "Place": "cron",
                        "AddedLines": ("* * * * * curl",)},
         "created /etc/cron.d/x (cron), adding `* * * * * curl`"),
        ("file_delete", {"Operation": "delete", "TargetFilename": "/a"}, "deleted /a"),
        ("from_elsewhere", {}, "matched in from_elsewhere"),
    ],
)  # fmt: skip
def test_every_category_is_told_in_its_own_words(alert, process, category, fields, said):
    """
    Plain words, with the facts that matter for that kind of event.
    """
    assert said in alert_sentence(alert(category, WHO | fields), process)


def test_lost_records_have_nobody_to_name(alert):
    """
    Where no process is known, none is invented.
    """
    one = alert(
        "records_lost", {"Source": "bpf", "Kind": "exec", "Count": 3}, process=UNKNOWN_PROCESS
    )

    sentence = alert_sentence(one, Process(key=UNKNOWN_PROCESS))

    assert sentence.startswith("an unknown process may have done more: 3 exec records of bpf were")


def test_script_and_container_are_named(alert, process):
    """
    The interpreter alone would say nothing.
    """
    fields = WHO | {"ScriptPath": "/tmp/m.py", "ContainerId": "0123456789abcdef" * 4}

    sentence = alert_sentence(alert("process_cpu", fields), process)

    assert sentence.startswith(
        "x (/tmp/x, pid 4711, bob, container 0123456789ab) running /tmp/m.py"
    )


def test_correlation_tells_what_it_joined(alert, process):
    """
    One incident, each kind of evidence once.
    """
    one = {"at_ns": 1, "process": ProcessKey(1, 1), "category": "x", "policy_id": "p"}
    evidence = [Evidence(title="A", summary="x ran from /tmp", **one)] * 2
    evidence += [Evidence(title="B", summary="", **one)]

    sentence = alert_sentence(alert(evidence=tuple(evidence)), process)

    assert "gave 2 kinds of evidence: x ran from /tmp; B [" in sentence


def test_suppressed_alerts_are_counted(alert, process):
    """
    Silence is not the same as nothing.
    """
    assert "(and 7 more like it)" in alert_sentence(alert(suppressed=7), process)


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        ("done", "quarantined /tmp/x: because [why]"),
        ("would", "would quarantine /tmp/x: because [why]"),
        ("refused", "refused to quarantine /tmp/x: because [why]"),
        ("failed", "failed to quarantine /tmp/x: because [why]"),
        ("undone", "took back quarantine /tmp/x: because [why]"),
        ("nothing-to-do", "nothing to quarantine: /tmp/x: because [why]"),
        ("intended", "about to quarantine /tmp/x: because [why]"),
    ],
)
def test_action_is_told_by_its_outcome(outcome, said):
    """
    What was done to what, and why.
    """
    receipt = Receipt(action="quarantine", outcome=outcome, target="/tmp/x", reason="because")

    assert action_sentence(receipt, "why") == said


@pytest.mark.parametrize("action", [*get_args(ActionName), "breaker"])
@pytest.mark.parametrize("outcome", get_args(Outcome))
def test_every_step_can_be_told(alert, process, action, outcome):
    """
    Whatever was tried, and however it went.
    """
    receipt = Receipt(action=action, outcome=outcome, target="/tmp/x")

    assert "/tmp/x" in action_sentence(receipt, "why")
    assert " — " in alert_sentence(alert(), process, receipts=[receipt])


def test_terminal_escapes_and_forged_lines_are_shown_not_obeyed():
    """
    Colours, line breaks, right-to-left overrides, bytes that are no text.
    """
    hostile = "a\x1b[2J\n\r\u202eb\udcff\u2028\x9b"

    assert plain(hostile) == r"a\x1b[2J\x0a\x0d\u202eb\xff\u2028\x9b"


def test_long_text_is_cut():
    """
    An argument list of a megabyte does not fill the screen.
    """
    assert plain("x" * 50, limit=10) == "x" * 9 + "…"


def test_surrogates_become_text_and_all_else_stays():
    """
    JSON and UTF-8 can carry the result; other characters are the document's business.
    """
    assert unicode_text("é\x1b\udc80\ud800") == "é\x1b" + r"\x80\ud800"


ANY = st.text() | st.integers() | st.floats(allow_nan=True) | st.booleans() | st.none()
FIELDS = st.dictionaries(
    st.sampled_from(["Image", "ProcessName", "User", "CommandLine", "ScriptPath", "Cores", "Method",
                     "Protocol", "Login", "DestinationIp", "DestinationHostname", "AddedLines",
                     "TargetFilename", "Operation", "ContainerId", "ImageOrigin", "QueryName"]),
    ANY | st.lists(ANY, max_size=5).map(tuple),
)  # fmt: skip


@given(
    fields=FIELDS,
    category=st.sampled_from(["mining_protocol", "process_creation", "file_event", "process_cpu",
                              "dns_answer", "network_connection", "records_lost", "odd"]),
    title=st.text(),
)  # fmt: skip
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_value_breaks_the_line_or_the_sentence(alert, process, fields, category, title):
    """
    Whatever a field holds: one line, printable, no exception.
    """
    evidence = Evidence(
        policy_id="p", title=title, at_ns=1, process=ProcessKey(1, 1), category="x", summary=title
    )
    receipt = Receipt(action="kill", outcome="done", target=title, reason=title)

    policy = dataclasses.replace(alert().policy, title=title)

    for evidences in ((), (evidence,)):
        one = alert(category, fields, evidence=evidences, policy=policy)
        assert alert_sentence(one, process, receipts=[receipt]).isprintable()
    assert action_sentence(receipt, title).isprintable()
