# SPDX-License-Identifier: Apache-2.0
"""Sigma's `attack.…` tags as ECS's `threat` fields."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

_TECHNIQUE: Final = re.compile(r"attack\.(t\d{4})(\.\d{3})?", re.IGNORECASE)
_TACTICS: Final[Mapping[str, tuple[str, str]]] = {
    "reconnaissance": ("TA0043", "Reconnaissance"),
    "resource-development": ("TA0042", "Resource Development"),
    "initial-access": ("TA0001", "Initial Access"),
    "execution": ("TA0002", "Execution"),
    "persistence": ("TA0003", "Persistence"),
    "privilege-escalation": ("TA0004", "Privilege Escalation"),
    "defense-evasion": ("TA0005", "Defense Evasion"),
    "credential-access": ("TA0006", "Credential Access"),
    "discovery": ("TA0007", "Discovery"),
    "lateral-movement": ("TA0008", "Lateral Movement"),
    "collection": ("TA0009", "Collection"),
    "exfiltration": ("TA0010", "Exfiltration"),
    "command-and-control": ("TA0011", "Command and Control"),
    "impact": ("TA0040", "Impact"),
}


def threat(tags: Iterable[str]) -> dict[str, object]:
    """`{"threat": …}` for the techniques and tactics that the tags name; empty if none.

    A sub-technique is listed with the technique that it belongs to.
    """
    techniques: dict[str, None] = {}
    subtechniques: dict[str, None] = {}
    tactics: dict[str, str] = {}
    for tag in tags:
        if found := _TECHNIQUE.fullmatch(tag):
            techniques[found[1].upper()] = None
            if found[2]:
                subtechniques[found[0].removeprefix("attack.").upper()] = None
            continue
        named = _TACTICS.get(tag.removeprefix("attack.").replace("_", "-"))
        if named and tag.startswith("attack."):
            tactics[named[0]] = named[1]
    part: dict[str, object] = {}
    if techniques:
        part["technique"] = _ids(techniques)
    if subtechniques:
        part["technique"] = {**_ids(techniques), "subtechnique": _ids(subtechniques)}
    if tactics:
        part["tactic"] = {"id": list(tactics), "name": list(tactics.values())}
    return {"threat": {"framework": "MITRE ATT&CK", **part}} if part else {}


def _ids(ids: Iterable[str]) -> dict[str, object]:
    return {"id": [*ids], "reference": [_reference(one) for one in ids]}


def _reference(technique: str) -> str:
    return f"https://attack.mitre.org/techniques/{technique.replace('.', '/')}/"
