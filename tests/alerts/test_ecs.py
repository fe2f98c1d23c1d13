# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from firedamp.alerts.attack import threat
from firedamp.alerts.ecs import action_document, alert_document, loss_document, notice_document
from firedamp.events.model import ProcessKey, RecordsLost
from firedamp.policy.types import Evidence
from firedamp.response.base import Receipt


def test_alert_is_an_ecs_document(alert, decide, process, origin):
    """
    What a SIEM looks for is where the schema says.
    """
    one = alert()

    document = alert_document(one, process, origin, decision=decide(one))

    assert document["@timestamp"] == "2026-11-23T01:00:00.000000Z"
    assert document["event"] == {
        "kind": "alert",
        "module": "firedamp",
        "dataset": "firedamp.events",
        "action": "mining-protocol",
        "category": ["network"],
        "type": ["protocol"],
        "severity": 99,
    }
    assert document["rule"] == {
        "id": "0f2d0000-0000-4000-8000-000000000000",
        "name": "Process speaks the Stratum mining protocol",
        "ruleset": "firedamp",
    }
    assert document["destination"] == {
        "ip": "203.0.113.7",
        "address": "203.0.113.7",
        "port": 3333,
    }
    assert document["host"] == {"hostname": "web1", "name": "web1", "id": "f" * 32}
    assert document["user"] == {"id": "33", "name": "www-data"}


def test_process_is_named_beyond_reuse_of_its_pid(alert, process, origin):
    """
    With its arguments one by one, its start, its user and its parent.
    """
    document = alert_document(alert(), process, origin)

    assert document["process"] == {
        "pid": 4711,
        "entity_id": "4711:90000",
        "start": "2026-11-23T00:15:00.000000Z",
        "executable": "/tmp/.x/kswapd0",
        "name": "kswapd0",
        "command_line": "./kswapd0 -o pool",
        "args": ["./kswapd0", "-o", "pool"],
        "args_count": 3,
        "parent": {"pid": 4700, "entity_id": "4700:89000", "executable": "/usr/bin/dash"},
        "user": {"id": "33", "name": "www-data"},
    }


def test_what_the_schema_lacks_is_our_own(alert, decide, process, origin):
    """
    Incident, actor, decision, evidence, receipts, and each field by its Sigma name.
    """
    evidence = Evidence(
        policy_id="p", title="T", at_ns=0, process=ProcessKey(1, 2), category="c", summary="s"
    )
    one = alert(evidence=(evidence,), suppressed=2)
    receipt = Receipt(action="kill", outcome="refused", target="pid 1", reason="it is PID 1")

    own = alert_document(one, process, origin, decision=decide(one), receipts=[receipt])["firedamp"]

    assert own["fields"] == dict(one.fields)
    assert {name: value for name, value in own.items() if name != "fields"} == {
        "kind": "alert",
        "incident": "3f2a",
        "actor": "4700:89000",
        "level": "critical",
        "status": "stable",
        "decision": {
            "mode": "observe",
            "actions": ["freeze", "kill"],
            "reason": "Process speaks the Stratum mining protocol",
            "target": "4711:90000",
            "addresses": ["203.0.113.7 3333"],
            "files": [],
        },
        "evidence": [
            {
                "at": "2026-11-23T00:00:00.000000Z",
                "rule": {"id": "p", "name": "T"},
                "category": "c",
                "process": "1:2",
                "summary": "s",
            }
        ],
        "actions": [
            {"action": "kill", "outcome": "refused", "target": "pid 1", "reason": "it is PID 1"}
        ],
        "suppressed": 2,
    }


@pytest.fixture
def document(process, origin):
    """The document for an alert about the miner."""
    return lambda one: alert_document(one, process, origin)


DENIED = {"Protocol": "udp", "Denied": True}


@pytest.mark.parametrize(
    ("category", "fields", "expected"),
    [
        ("file_event", {"TargetFilename": "/etc/cron.d/x", "Operation": "create"},
         ("file", {"path": "/etc/cron.d/x", "directory": "/etc/cron.d", "name": "x"})),
        ("file_event", {"Operation": "create"}, ("event.type", ["creation"])),
        ("file_event", {"Operation": "write"}, ("event.type", ["change"])),
        ("file_delete", {"Operation": "delete"}, ("event.type", ["deletion"])),
        ("dns_query", {"QueryName": "a.example", "QueryType": "A"},
         ("dns", {"question": {"name": "a.example", "type": "A"}, "type": "query"})),
        ("dns_answer", {"QueryName": "a", "QueryType": "A", "QueryStatus": "NXDOMAIN"},
         ("dns.response_code", "NXDOMAIN")),
        ("network_connection", DENIED, ("network", {"transport": "udp", "direction": "egress"})),
        ("network_connection", DENIED, ("event.type", ["connection", "denied"])),
        ("network_connection", {"DestinationHostname": ("b.example", "c.example")},
         ("destination.domain", "b.example")),
        ("mining_protocol", {"Protocol": "stratum-v1", "Direction": "in"},
         ("network.direction", "ingress")),
        ("process_creation", {"ContainerId": "ab"}, ("container.id", "ab")),
        ("from_elsewhere", {}, ("event.category", ["intrusion_detection"])),
    ],
)  # fmt: skip
def test_each_kind_of_event_fills_its_field_set(alert, document, category, fields, expected):
    """
    Files, names, connections, containers.
    """
    path, value = expected

    found = document(alert(category, fields))

    for part in path.split("."):
        found = found[part]
    assert found == value


def test_document_survives_names_that_are_no_text(alert, process, origin):
    """
    A file name in Latin-1 and a lone surrogate from a pool's JSON give valid JSON.
    """
    process.argv = ("\udcfc",)
    fields = {"TargetFilename": "/tmp/\udcff", "AddedLines": ("\ud800", "é")}

    document = alert_document(alert("file_event", fields), process, origin)

    json.dumps(document, ensure_ascii=False).encode()
    assert document["file"]["name"] == r"\xff"
    assert document["firedamp"]["fields"]["AddedLines"] == [r"\ud800", "é"]
    assert document["process"]["args"] == [r"\xfc"]


def test_action_names_its_outcome(alert, decide, origin):
    """
    A refusal is not a success.
    """
    receipt = Receipt(action="kill", outcome="refused", target="pid 1", reason="it is PID 1")

    document = action_document(decide(alert()), receipt, origin, at_ns=0)

    assert document["event"]["outcome"] == "failure"
    assert document["event"]["action"] == "kill"
    assert document["firedamp"]["kind"] == "action"
    assert document["firedamp"]["incident"] == "3f2a"


def test_loss_and_notice_are_about_the_daemon(origin):
    """
    They are no alerts, and say so.
    """
    event = RecordsLost(at_ns=0, process=ProcessKey(0, 0), source="bpf", kind="exec", count=3)

    loss = loss_document(event, origin)
    notice = notice_document("started", "firedamp\nruns", origin, at_ns=0, fields={"hooks": ("a",)})

    assert loss["event"]["kind"] == "pipeline_error"
    assert loss["firedamp"] == {"kind": "loss", "source": "bpf", "records": "exec", "count": 3}
    assert notice["message"] == "firedamp · runs"
    assert notice["firedamp"] == {"kind": "notice", "fields": {"hooks": ["a"]}}


def test_attack_tags_become_techniques_and_tactics():
    """
    A sub-technique brings its technique along; other tags are not ATT&CK's.
    """
    assert threat(["attack.impact", "attack.t1496.001", "attack.T1059", "cve.2020.1"]) == {
        "threat": {
            "framework": "MITRE ATT&CK",
            "technique": {
                "id": ["T1496", "T1059"],
                "reference": [
                    "https://attack.mitre.org/techniques/T1496/",
                    "https://attack.mitre.org/techniques/T1059/",
                ],
                "subtechnique": {
                    "id": ["T1496.001"],
                    "reference": ["https://attack.mitre.org/techniques/T1496/001/"],
                },
            },
            "tactic": {"id": ["TA0040"], "name": ["Impact"]},
        }
    }


def test_no_tags_make_no_threat():
    """
    An empty field set would only be noise.
    """
    assert threat(["attack.", "attack.t1", "detection.threat_hunting"]) == {}
