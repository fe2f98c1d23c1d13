# SPDX-License-Identifier: Apache-2.0
"""Alerts as a person at a terminal reads them.

    12:31:07 CRITICAL kswapd0 (/tmp/.x/kswapd0, pid 4711, www-data) logged in to a mining …
             incident 3f2a · T1496.001 · process_creation
             evidence 12:31:01 Program runs from a hidden directory: /tmp/.x/kswapd0
             kill     done     pid 4711 (/tmp/.x/kswapd0)

Made from the ECS document alone, so that live alerts and old ones look the same.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final, TextIO

from firedamp.alerts.entries import Entry
from firedamp.alerts.plain import plain

_COLOURS: Final[Mapping[str, str]] = {
    "critical": "1;37;41",
    "high": "1;31",
    "medium": "33",
    "low": "36",
    "informational": "2",
    "loss": "1;35",
    "done": "32",
    "undone": "32",
    "would": "36",
    "refused": "33",
    "failed": "1;31",
}
_REVERSIBLE: Final = frozenset({"freeze", "block", "isolate", "quarantine", "clean"})
_INDENT: Final = " " * 9


class Console:
    """Alerts on a text stream, with colours only where the stream is a terminal."""

    name: Final = "console"

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._colour = stream.isatty()

    def write(self, entry: Entry) -> None:
        for line in readable(entry.document, colour=self._colour):
            self._stream.write(f"{line}\n")
        self._stream.flush()

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """The stream belongs to the process."""


def readable(document: Mapping[str, object], *, colour: bool, dates: bool = False) -> Iterator[str]:
    """The lines for one document, in local time.

    Args:
        document: as `firedamp.alerts.ecs` makes it, or as it was read back.
        colour: whether to emit terminal colours.
        dates: whether to put the date before the time.
    """
    own = _map(document.get("firedamp"))
    kind = str(own.get("kind", ""))
    if kind == "action":
        yield from _action_lines(document, own, colour=colour, dates=dates)
        return
    label = plain(own.get("level", "") if kind == "alert" else kind, limit=20)
    message = plain(document.get("message", ""), limit=2000)
    time = _time(document.get("@timestamp"), dates=dates)
    yield f"{time} {_paint(label.upper() or '?', label, colour=colour)} {message}"
    if kind == "alert":
        yield from _details(document, own, colour=colour)


def _action_lines(
    document: Mapping[str, object], own: Mapping[str, object], *, colour: bool, dates: bool
) -> Iterator[str]:
    time = _time(document.get("@timestamp"), dates=dates)
    for receipt in _maps(own.get("actions")):
        yield f"{time} {_receipt(receipt, colour=colour)}"


def _details(
    document: Mapping[str, object], own: Mapping[str, object], *, colour: bool
) -> Iterator[str]:
    facts = [f"incident {plain(own.get('incident', '?'))}", *_techniques(document)]
    facts.append(plain(_map(document.get("rule")).get("id", "")))
    yield _INDENT + " · ".join(facts)
    for one in _maps(own.get("evidence")):
        rule = plain(_map(one.get("rule")).get("name", ""))
        summary = plain(one.get("summary", ""))
        yield f"{_INDENT}evidence {_time(one.get('at'))} {rule}{': ' if summary else ''}{summary}"
    for receipt in _maps(own.get("actions")):
        yield _INDENT + _receipt(receipt, colour=colour)


def _receipt(receipt: Mapping[str, object], *, colour: bool) -> str:
    outcome = str(receipt.get("outcome", ""))
    reason = plain(receipt.get("reason", ""))
    painted = _paint(plain(outcome), outcome, colour=colour)
    text = f"{plain(receipt.get('action', '')):<10} {painted} {plain(receipt.get('target', ''))}"
    text = f"{text}: {reason}" if reason else text
    can_undo = outcome == "done" and "id" in receipt and receipt.get("action") in _REVERSIBLE
    return f"{text} (firedamp undo {plain(receipt['id'])})" if can_undo else text


def _techniques(document: Mapping[str, object]) -> list[str]:
    technique = _map(_map(document.get("threat")).get("technique"))
    ids = _map(technique.get("subtechnique")).get("id") or technique.get("id")
    return [plain(one) for one in ids] if isinstance(ids, list) else []


def _time(stamp: object, *, dates: bool = False) -> str:
    try:
        at = datetime.fromisoformat(str(stamp)).astimezone()
    except ValueError:
        return "??:??:??"
    return at.strftime("%Y-%m-%d %H:%M:%S" if dates else "%H:%M:%S")


def _paint(text: str, name: str, *, colour: bool) -> str:
    code = _COLOURS.get(name)
    return f"\x1b[{code}m{text}\x1b[0m" if colour and code else text


def _map(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _maps(value: object) -> list[Mapping[str, object]]:
    return [_map(one) for one in value] if isinstance(value, list) else []
