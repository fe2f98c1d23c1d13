# SPDX-License-Identifier: Apache-2.0
"""A match put into words and into what a response needs: who, what, which address, which file."""

import os.path
from collections.abc import Callable, Mapping
from typing import Final

from firedamp.policy.ir import Policy
from firedamp.policy.types import Evidence
from firedamp.policy.view import FieldView

_SHOWN: Final = 160
"""Characters of a command line or path that a sentence shows."""
_CONNECTIONS: Final = frozenset({"network_connection", "mining_protocol"})
_CHANGES: Final = frozenset({"file_event", "file_rename", "file_change"})


def evidence_of(policy: Policy, view: FieldView) -> Evidence:
    """What the match says for the alert of a correlation."""
    event = view.observed.event
    return Evidence(
        policy_id=policy.summary.id,
        title=policy.summary.title,
        at_ns=event.at_ns,
        process=event.process,
        category=view.category,
        summary=sentence(view),
        address=address_of(view),
        file=file_of(view),
    )


def address_of(view: FieldView) -> tuple[str, int] | None:
    """The remote end that a connection's event names."""
    if view.category not in _CONNECTIONS:
        return None
    address, port = view["DestinationIp"], view["DestinationPort"]
    return (address, port) if isinstance(address, str) and isinstance(port, int) else None


def file_of(view: FieldView) -> str:
    """The file that an event says was put there or changed; empty if none was."""
    if view.category not in _CHANGES:
        return ""
    path = view["TargetFilename"]
    return path if isinstance(path, str) else ""


def sentence(view: FieldView) -> str:
    """Who did what, for a person."""
    return f"{_who(view)} {_WORDS[view.category](view)}" if view.category in _WORDS else _who(view)


def _who(view: FieldView) -> str:
    image, pid = view["Image"], view["ProcessId"]
    name = view["ProcessName"] or (os.path.basename(image) if isinstance(image, str) else None)
    parts = [str(name or "a process")]
    if pid is not None:
        parts.append(f"[{pid}]")
    details = [_cut(image)] if image else []
    if view["User"]:
        details.append(f"as {view['User']}")
    return "".join(parts) + (f" ({', '.join(details)})" if details else "")


def _ran(view: FieldView) -> str:
    parent = view["ParentImage"]
    by = f", started by {_cut(parent)}" if parent else ""
    return f"ran `{_cut(view['CommandLine'] or view['Image'])}`{by}"


def _connected(view: FieldView) -> str:
    refused = ", refused" if view["Denied"] else ""
    return f"connected to {_remote(view)}{refused}"


def _remote(view: FieldView) -> str:
    address, port, name = (view[f"Destination{one}"] for one in ("Ip", "Port", "Hostname"))
    known = name[0] if isinstance(name, tuple) else name
    end = f"[{address}]:{port}" if ":" in str(address) else f"{address}:{port}"
    return f"{end} ({known})" if known else end


def _spoke(view: FieldView) -> str:
    verb, to = ("heard", "from") if view["Direction"] == "in" else ("said", "to")
    login = f" as {_cut(view['Login'])}" if view["Login"] else ""
    return f"{verb} {view['Method']} in {view['Protocol']}{login} {to} {_remote(view)}"


def _changed(view: FieldView) -> str:
    place = f" ({view['Place']})" if view["Place"] else ""
    return f"changed {_cut(view['TargetFilename'])}{place}: {view['Operation']}"


def _computed(view: FieldView) -> str:
    cores = view["Cores"]
    shown = f"{cores:.1f}" if isinstance(cores, int | float) else cores
    return f"kept {shown} cores busy for {view['WindowSeconds']} s"


def _cut(value: object) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


_WORDS: Final[Mapping[str, Callable[[FieldView], str]]] = {
    "process_creation": _ran,
    "process_termination": lambda view: f"ended with status {view['ExitCode']}",
    "process_rename": lambda view: f"called itself that; before, {view['OldProcessName']}",
    "network_connection": _connected,
    "mining_protocol": _spoke,
    "dns_query": lambda view: f"asked for the name {_cut(view['QueryName'])}",
    "dns_answer": lambda view: f"was told {view['QueryStatus']} for {_cut(view['QueryName'])}",
    "file_event": _changed,
    "file_delete": _changed,
    "file_rename": _changed,
    "file_change": _changed,
    "process_cpu": _computed,
    "records_lost": lambda view: f"lost {view['Count']} {view['Kind']} records of {view['Source']}",
}
