# SPDX-License-Identifier: Apache-2.0
"""An alert as one sentence that a person reads first: who, what, where, why, and what of it.

    kswapd0 (/tmp/.x/kswapd0, pid 4711, www-data) logged in to a mining pool at
    203.0.113.7:3333 (stratum-monero) [Process speaks the Stratum mining protocol]
    - would freeze, block, quarantine, kill

It is one line, without anything that a terminal would obey, whatever names were chosen.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from firedamp.alerts.plain import plain
from firedamp.context.process import Process
from firedamp.events.model import UNKNOWN_PROCESS
from firedamp.policy.types import Alert, Decision
from firedamp.response.base import Outcome, Receipt, Subject

Fields = Mapping[str, object]

_DONE: Final[Mapping[Subject, str]] = {
    "freeze": "froze",
    "block": "blocked",
    "isolate": "isolated",
    "capture": "captured evidence of",
    "quarantine": "quarantined",
    "clean": "cleaned",
    "kill": "killed",
    "breaker": "stopped",
}
_DONE_ALONE: Final[Mapping[Subject, str]] = {**_DONE, "capture": "captured evidence"}
_PREFIX: Final[Mapping[Outcome, str]] = {
    "would": "would ",
    "intended": "about to ",
    "refused": "refused to ",
    "failed": "failed to ",
    "undone": "took back ",
    "nothing-to-do": "nothing to ",
}
_LOGINS: Final = frozenset({"login", "mining.authorize", "eth_submitLogin", "mining.hello"})
_SHARES: Final = frozenset({"submit", "mining.submit", "eth_submitWork", "submitblock"})
_FILE_VERBS: Final = {
    "create": "created",
    "write": "wrote",
    "open": "opened for writing",
    "rename": "renamed a file to",
    "link": "made a link at",
    "delete": "deleted",
    "attributes": "changed the attributes of",
}
_PLACES: Final = {
    "memory": "from memory, without a file",
    "deleted": "from a file that is already deleted",
}


def alert_sentence(
    alert: Alert,
    process: Process,
    *,
    decision: Decision | None = None,
    receipts: Iterable[Receipt] = (),
) -> str:
    fields = dict(alert.fields)
    text = f"{_who(fields, process)} {_what(alert, fields)} [{plain(alert.policy.title)}]"
    if alert.suppressed:
        text += f" (and {alert.suppressed} more like it)"
    consequence = _consequence(decision, tuple(receipts))
    return f"{text} — {consequence}" if consequence else text


def action_sentence(receipt: Receipt, reason: str) -> str:
    """What was done to whom, and why."""
    target = plain(receipt.target)
    if receipt.outcome == "done":
        text = f"{_DONE[receipt.action]} {target}"
    elif receipt.outcome == "nothing-to-do":
        text = f"nothing to {receipt.action}: {target}"
    else:
        text = f"{_PREFIX[receipt.outcome]}{receipt.action} {target}"
    if receipt.reason:
        text += f": {plain(receipt.reason)}"
    return f"{text} [{plain(reason)}]" if reason else text


def _who(fields: Fields, process: Process) -> str:
    if process.key == UNKNOWN_PROCESS and not fields.get("Image"):
        return "an unknown process"
    image = str(fields.get("Image") or process.image)
    name = str(fields.get("ProcessName") or process.comm or image.rpartition("/")[2] or "?")
    user = fields.get("User") or process.uid
    facts = [plain(image)] if image else []
    facts += [f"pid {process.key.pid}", plain(user)]
    if container := fields.get("ContainerId"):
        facts.append(f"container {plain(str(container)[:12])}")
    script = fields.get("ScriptPath")
    running = f" running {plain(script)}" if script else ""
    return f"{plain(name)} ({', '.join(facts)}){running}"


def _what(alert: Alert, fields: Fields) -> str:
    if alert.evidence:
        parts = dict.fromkeys(plain(one.summary or one.title) for one in alert.evidence)
        kinds = f"{len(parts)} kinds of evidence" if len(parts) > 1 else "evidence"
        return f"gave {kinds}: {'; '.join(parts)}"
    describe = _DESCRIPTIONS.get(alert.category)
    return describe(fields) if describe else f"matched in {plain(alert.category)}"


def _mining(fields: Fields) -> str:
    method = str(fields.get("Method", ""))
    at = f"at {_endpoint(fields)} ({plain(fields.get('Protocol', ''))})"
    login = f" as {plain(fields['Login'], limit=24)}" if fields.get("Login") else ""
    if fields.get("Direction") == "in":
        return f"was given work by a mining pool {at}"
    if method in _LOGINS:
        return f"logged in to a mining pool {at}{login}"
    if method in _SHARES:
        return f"handed in work to a mining pool {at}"
    if method in {"getblocktemplate", "eth_getWork"}:
        return f"asked for mining work {at}"
    said = f" ({plain(method)})" if method else ""
    return f"spoke to a mining pool {at}{said}"


def _executed(fields: Fields) -> str:
    verb = "was found running" if fields.get("IsFound") else "was started"
    place = _PLACES.get(str(fields.get("ImageOrigin")), "")
    text = f"{verb} {place}".rstrip()
    if command := fields.get("CommandLine"):
        text += f" as `{plain(command)}`"
    if disguise := fields.get("Masquerade"):
        text += f", disguised ({_listed(disguise)})"
    if parent := fields.get("ParentImage"):
        text += f", by {plain(parent)}"
    return text


def _connected(fields: Fields) -> str:
    verb = "was refused a connection to" if fields.get("Denied") else "connected to"
    return f"{verb} {_endpoint(fields)} ({plain(fields.get('Protocol', ''))})"


def _asked(fields: Fields) -> str:
    return f"asked for the name {plain(fields.get('QueryName', ''))}"


def _answered(fields: Fields) -> str:
    results = _listed(fields.get("QueryResults") or fields.get("QueryStatus") or "nothing")
    return f"was told that {plain(fields.get('QueryName', ''))} is {results}"


def _changed(fields: Fields) -> str:
    verb = _FILE_VERBS.get(str(fields.get("Operation")), "changed")
    text = f"{verb} {plain(fields.get('TargetFilename', ''))}"
    if place := fields.get("Place"):
        text += f" ({plain(place)})"
    if lines := fields.get("AddedLines"):
        text += f", adding `{_listed(lines)}`"
    return text


def _busy(fields: Fields) -> str:
    cores, window = fields.get("Cores", "?"), fields.get("WindowSeconds", "?")
    shown = f"{cores:.1f}" if isinstance(cores, float) else plain(cores)
    return f"kept {shown} cores busy for {plain(window)} s"


def _renamed(fields: Fields) -> str:
    old = plain(fields.get("OldProcessName", "?"))
    return f"gave itself the name {plain(fields.get('ProcessName', '?'))}, was {old}"


def _ended(fields: Fields) -> str:
    signal = fields.get("ExitSignal")
    return f"was ended by signal {plain(signal)}" if signal else "ended"


def _lost(fields: Fields) -> str:
    count, kind, source = (plain(fields.get(key, "?")) for key in ("Count", "Kind", "Source"))
    return f"may have done more: {count} {kind} records of {source} were lost"


_DESCRIPTIONS: Final[Mapping[str, Callable[[Fields], str]]] = {
    "mining_protocol": _mining,
    "process_creation": _executed,
    "process_termination": _ended,
    "process_rename": _renamed,
    "process_cpu": _busy,
    "network_connection": _connected,
    "dns_query": _asked,
    "dns_answer": _answered,
    "file_event": _changed,
    "file_delete": _changed,
    "file_rename": _changed,
    "file_change": _changed,
    "records_lost": _lost,
}


def _endpoint(fields: Fields) -> str:
    address, port = (
        plain(fields.get("DestinationIp", "?")),
        plain(fields.get("DestinationPort", "?")),
    )
    numeric = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    names = fields.get("DestinationHostname")
    return f"{_listed(names)} ({numeric})" if names else numeric


def _listed(value: object) -> str:
    """A value that may be several, joined and kept short."""
    if isinstance(value, tuple | list):
        more = f", and {len(value) - 3} more" if len(value) > 3 else ""
        return ", ".join(plain(one, limit=80) for one in value[:3]) + more
    return plain(value)


def _consequence(decision: Decision | None, receipts: tuple[Receipt, ...]) -> str:
    if not receipts:
        if not decision or not decision.actions:
            return ""
        verb = "would" if decision.mode == "observe" else "about to"
        return f"{verb} {', '.join(decision.actions)}"
    by_outcome: dict[Outcome, dict[Subject, None]] = {}
    for receipt in receipts:
        by_outcome.setdefault(receipt.outcome, {})[receipt.action] = None
    return "; ".join(_of_outcome(outcome, tuple(names)) for outcome, names in by_outcome.items())


def _of_outcome(outcome: Outcome, actions: tuple[Subject, ...]) -> str:
    if outcome == "done":
        return ", ".join(_DONE_ALONE[action] for action in actions)
    return f"{_PREFIX[outcome]}{', '.join(actions)}"
