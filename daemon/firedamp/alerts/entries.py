# SPDX-License-Identifier: Apache-2.0
"""What is written about one fact, whichever way it goes out: kind, priority, fields, document.

`MESSAGE_IDS` are promises: scripts match on them, and `journalctl MESSAGE_ID=…` finds all
entries of a kind. They are listed in firedamp(8) and never change.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from firedamp.alerts import ecs
from firedamp.alerts.ecs import Origin
from firedamp.alerts.ecs_parts import Document
from firedamp.alerts.plain import plain, unicode_text
from firedamp.context.process import Process
from firedamp.events.model import RecordsLost
from firedamp.policy.types import Alert, Decision, Level
from firedamp.response.base import Outcome, Receipt

NoticeKind = Literal[
    "started", "stopped", "reloaded", "reload_refused", "mode", "breaker", "degraded"
]
Fields = tuple[tuple[str, str], ...]

MESSAGE_IDS: Final[Mapping[str, str]] = {
    "alert": "8d59ab761608432d9d399d9f57cbc795",
    "action": "f3b3c78b2db5452f97781230e574cd5a",
    "loss": "51145aa1ae324b00990e7db60d059259",
    "started": "21ca4acf8533417483f8bf18a6597bce",
    "stopped": "c7c68108a9c8482d8df430905caf68cf",
    "reloaded": "1a729da4fb274e1285cdd45dc82e25ca",
    "reload_refused": "ba0ca09241314b449ee2c525f08c5407",
    "mode": "e2b77081d25d4d608037a3c76d5ee952",
    "breaker": "afb70741f9fc4768b24cfc44c6cefad6",
    "degraded": "5fa766bdd07d4d39a798d4db39e31dd0",
}
PRIORITY_OF_LEVEL: Final[Mapping[Level, int]] = {
    Level.INFORMATIONAL: 6,
    Level.LOW: 5,
    Level.MEDIUM: 4,
    Level.HIGH: 3,
    Level.CRITICAL: 2,
}
_PRIORITY_OF_OUTCOME: Final[Mapping[Outcome, int]] = {"refused": 4, "failed": 3, "done": 5}
_PRIORITY_OF_NOTICE: Final[Mapping[str, int]] = {
    "reload_refused": 3,
    "breaker": 2,
    "degraded": 4,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One fact, ready to be written."""

    kind: str
    """alert, action, loss, or a notice's kind."""
    message: str
    priority: int
    """As syslog counts: 2 critical, 3 error, 4 warning, 5 notice, 6 informational."""
    fields: Fields
    """Journal fields besides the usual ones; a name may come more than once."""
    document: Document
    text: str = field(init=False, repr=False)
    """The document as one line of JSON in ASCII."""

    def __post_init__(self) -> None:
        line = json.dumps(self.document, separators=(",", ":"), allow_nan=False)
        object.__setattr__(self, "text", line)


def alert_entry(
    alert: Alert,
    process: Process,
    origin: Origin,
    *,
    decision: Decision | None,
    receipts: Iterable[Receipt],
) -> Entry:
    document = ecs.alert_document(alert, process, origin, decision=decision, receipts=receipts)
    fields = [*_of_alert(alert), ("FIREDAMP_PID", str(alert.process.pid))]
    if decision:
        fields.append(("FIREDAMP_MODE", decision.mode))
        fields += [("FIREDAMP_ACTION", action) for action in decision.actions]
    priority = PRIORITY_OF_LEVEL[alert.policy.level]
    return _entry("alert", document, priority, fields)


def action_entry(decision: Decision, receipt: Receipt, origin: Origin, *, at_ns: int) -> Entry:
    document = ecs.action_document(decision, receipt, origin, at_ns=at_ns)
    fields = [
        *_of_alert(decision.alert),
        ("FIREDAMP_PID", str(decision.target.pid)),
        ("FIREDAMP_MODE", decision.mode),
        ("FIREDAMP_ACTION", receipt.action),
        ("FIREDAMP_OUTCOME", receipt.outcome),
        ("FIREDAMP_TARGET", unicode_text(receipt.target)),
    ]
    return _entry("action", document, _PRIORITY_OF_OUTCOME.get(receipt.outcome, 6), fields)


def loss_entry(event: RecordsLost, origin: Origin) -> Entry:
    fields = [
        ("FIREDAMP_SOURCE", event.source),
        ("FIREDAMP_RECORDS", event.kind),
        ("FIREDAMP_COUNT", str(event.count)),
    ]
    return _entry("loss", ecs.loss_document(event, origin), 4, fields)


def notice_entry(
    kind: str, text: str, origin: Origin, *, at_ns: int, fields: Mapping[str, object]
) -> Entry:
    document = ecs.notice_document(kind, text, origin, at_ns=at_ns, fields=fields)
    named = [
        (f"FIREDAMP_{name.upper()}", plain(value, limit=1000)) for name, value in fields.items()
    ]
    return _entry(kind, document, _PRIORITY_OF_NOTICE.get(kind, 5), named)


def journal_lines(entry: Entry) -> list[str]:
    """The entry as the journal's `KEY=value` lines."""
    lines = [
        f"MESSAGE={entry.message}",
        f"PRIORITY={entry.priority}",
        "SYSLOG_IDENTIFIER=firedamp",
        f"FIREDAMP_KIND={entry.kind}",
    ]
    if entry.kind in MESSAGE_IDS:
        lines.append(f"MESSAGE_ID={MESSAGE_IDS[entry.kind]}")
    lines += [f"{name}={value}" for name, value in entry.fields]
    lines.append(f"FIREDAMP_ALERT={entry.text}")
    return lines


def _entry(
    kind: str, document: Document, priority: int, fields: Iterable[tuple[str, str]]
) -> Entry:
    message = str(document["message"])
    return Entry(
        kind=kind, message=message, priority=priority, fields=tuple(fields), document=document
    )


def _of_alert(alert: Alert) -> Fields:
    return (
        ("FIREDAMP_RULE_ID", alert.policy.id),
        ("FIREDAMP_RULE_TITLE", plain(alert.policy.title)),
        ("FIREDAMP_LEVEL", alert.policy.level.name.lower()),
        ("FIREDAMP_INCIDENT", alert.incident),
    )
