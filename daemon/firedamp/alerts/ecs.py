# SPDX-License-Identifier: Apache-2.0
"""One alert, action, loss or notice as one document in the Elastic Common Schema.

<https://www.elastic.co/guide/en/ecs/8.17/>. What has no place there is under `firedamp`:
the incident, the actor, the evidence, the decision, and every field of the event under the
name by which policies know it. Documents hold nothing but JSON's own types, and text in
them is free of surrogates; they do hold control characters, which JSON escapes.

Nothing here reads a clock or asks the host: the shell passes `Origin`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from firedamp.alerts.attack import threat
from firedamp.alerts.ecs_parts import (
    Document,
    as_json,
    file_part,
    named,
    network_part,
    process_part,
)
from firedamp.alerts.plain import plain, unicode_text
from firedamp.alerts.sentence import action_sentence, alert_sentence
from firedamp.context.process import Process
from firedamp.events.model import RecordsLost
from firedamp.policy.types import Alert, Decision, Evidence, Level
from firedamp.response.base import Outcome, Receipt

VERSION: Final = "8.17.0"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SEVERITY: Final = {
    Level.INFORMATIONAL: 0,
    Level.LOW: 21,
    Level.MEDIUM: 47,
    Level.HIGH: 73,
    Level.CRITICAL: 99,
}
_CATEGORIES: Final[Mapping[str, tuple[str, str]]] = {
    "process_creation": ("process", "start"),
    "process_termination": ("process", "end"),
    "process_rename": ("process", "change"),
    "process_cpu": ("process", "info"),
    "network_connection": ("network", "connection"),
    "mining_protocol": ("network", "protocol"),
    "dns_query": ("network", "protocol"),
    "dns_answer": ("network", "protocol"),
    "file_event": ("file", "change"),
    "file_delete": ("file", "deletion"),
    "file_rename": ("file", "change"),
    "file_change": ("file", "change"),
}
_FILE_TYPES: Final = {"create": "creation", "link": "creation", "delete": "deletion"}
_SUCCESS: Final[Mapping[Outcome, str]] = {
    "done": "success",
    "undone": "success",
    "failed": "failure",
    "refused": "failure",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What the shell knows and the core does not: which host, and what time it is."""

    host_name: str
    host_id: str = ""
    """/etc/machine-id; empty where there is none."""
    clock_offset_ns: int = 0
    """Wall-clock time minus boot-time, both in nanoseconds."""

    def timestamp(self, at_ns: int) -> str:
        """A boot-time clock reading as UTC, in microseconds."""
        at = _EPOCH + timedelta(microseconds=(at_ns + self.clock_offset_ns) // 1000)
        return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def alert_document(
    alert: Alert,
    process: Process,
    origin: Origin,
    *,
    decision: Decision | None = None,
    receipts: Iterable[Receipt] = (),
) -> Document:
    receipts = tuple(receipts)
    fields = {name: as_json(value) for name, value in alert.fields}
    category, kind = _CATEGORIES.get(alert.category, ("intrusion_detection", "info"))
    kinds = [_FILE_TYPES.get(str(fields.get("Operation")), kind)]
    if fields.get("Denied"):
        kinds.append("denied")
    sentence = alert_sentence(alert, process, decision=decision, receipts=receipts)
    document = _frame(origin, alert.at_ns, sentence)
    document["event"] = {
        **_event("alert", alert.category),
        "category": [category],
        "type": kinds,
        "severity": _SEVERITY[alert.policy.level],
    }
    document["rule"] = _rule(alert)
    document["tags"] = list(alert.policy.tags)
    document |= threat(alert.policy.tags)
    document |= process_part(fields, process, origin.timestamp)
    document |= network_part(alert.category, fields)
    document |= file_part(fields)
    document["firedamp"] = {
        "kind": "alert",
        **_incident(alert),
        "decision": _decision(decision),
        "evidence": [_evidence(one, origin) for one in alert.evidence],
        "actions": [_receipt(one) for one in receipts],
        "suppressed": alert.suppressed,
        "fields": fields,
    }
    return document


def action_document(
    decision: Decision, receipt: Receipt, origin: Origin, *, at_ns: int
) -> Document:
    alert = decision.alert
    document = _frame(origin, at_ns, action_sentence(receipt, decision.reason))
    document["event"] = {
        **_event("event", receipt.action),
        "category": ["intrusion_detection"],
        "type": ["info"],
        "outcome": _SUCCESS.get(receipt.outcome, "unknown"),
    }
    document["rule"] = _rule(alert)
    document["process"] = named(decision.target)
    document["firedamp"] = {
        "kind": "action",
        **_incident(alert),
        "decision": _decision(decision),
        "actions": [_receipt(receipt)],
    }
    return document


def loss_document(event: RecordsLost, origin: Origin) -> Document:
    text = f"{event.count} {event.kind} records of {event.source} were lost: what they would "
    document = _frame(origin, event.at_ns, text + "have shown was not judged")
    document["event"] = {
        **_event("pipeline_error", "records_lost"),
        "category": ["host"],
        "type": ["error"],
    }
    document["firedamp"] = {
        "kind": "loss",
        "source": event.source,
        "records": event.kind,
        "count": event.count,
    }
    return document


def notice_document(
    kind: str, text: str, origin: Origin, *, at_ns: int, fields: Mapping[str, object]
) -> Document:
    document = _frame(origin, at_ns, plain(" · ".join(text.splitlines()), limit=2000))
    document["event"] = {**_event("event", kind), "category": ["host"], "type": ["info"]}
    document["firedamp"] = {
        "kind": "notice",
        "fields": {name: as_json(value) for name, value in fields.items()},
    }
    return document


def _frame(origin: Origin, at_ns: int, message: str) -> Document:
    host: Document = {"hostname": origin.host_name, "name": origin.host_name}
    if origin.host_id:
        host["id"] = origin.host_id
    return {
        "@timestamp": origin.timestamp(at_ns),
        "ecs": {"version": VERSION},
        "message": message,
        "host": host,
    }


def _event(kind: str, action: str) -> Document:
    return {
        "kind": kind,
        "module": "firedamp",
        "dataset": "firedamp.events",
        "action": action.replace("_", "-"),
    }


def _rule(alert: Alert) -> Document:
    policy = alert.policy
    rule: Document = {"id": policy.id, "name": policy.title, "ruleset": "firedamp"}
    if policy.description:
        rule["description"] = policy.description
    return rule


def _incident(alert: Alert) -> Document:
    return {
        "incident": alert.incident,
        "actor": str(alert.actor),
        "level": alert.policy.level.name.lower(),
        "status": alert.policy.status,
    }


def _decision(decision: Decision | None) -> Document | None:
    if decision is None:
        return None
    return {
        "mode": decision.mode,
        "actions": list(decision.actions),
        "reason": unicode_text(decision.reason),
        "target": str(decision.target),
        "addresses": [f"{address} {port}" for address, port in decision.addresses],
        "files": [unicode_text(file) for file in decision.files],
    }


def _evidence(one: Evidence, origin: Origin) -> Document:
    return {
        "at": origin.timestamp(one.at_ns),
        "rule": {"id": one.policy_id, "name": one.title},
        "category": one.category,
        "process": str(one.process),
        "summary": unicode_text(one.summary),
    }


def _receipt(receipt: Receipt) -> Document:
    step: Document = {
        "action": receipt.action,
        "outcome": receipt.outcome,
        "target": unicode_text(receipt.target),
        "reason": unicode_text(receipt.reason),
    }
    if receipt.id:
        step["id"] = receipt.id
    return step
