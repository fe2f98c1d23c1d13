# SPDX-License-Identifier: Apache-2.0
"""Taking back what was done: one action, all of an incident, or all since a time.

What was done last is taken back first. What cannot be taken back is said, and stops nothing.
The result of each goes into the ledger, so that nothing is taken back twice.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from firedamp.errors import ActionError, FiredampError
from firedamp.policy.types import ActionName
from firedamp.response.base import Action, Receipt
from firedamp.response.ledger import Entry, Ledger

_BOUND_TO_BOOT = frozenset({"freeze"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What to take back. Exactly one is set."""

    number: int = 0
    """Of an intent (a whole step) or of a receipt, as the ledger and alerts show them."""
    incident: str = ""
    since_ns: int = 0
    """Wall-clock time."""

    def __post_init__(self) -> None:
        """Nothing selected must never come to mean everything.

        Raises:
            ActionError: it does not select exactly one thing.
        """
        if sum(map(bool, (self.number, self.incident, self.since_ns))) != 1:
            raise ActionError("undo takes the number of an action, an incident, or a time")

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, object]) -> "Selection":
        """Read what came over the control socket.

        Raises:
            ActionError: it does not select exactly one thing.
        """
        kinds: dict[str, type] = {"number": int, "incident": str, "since_ns": int}
        given = {name: arguments[name] for name in kinds if arguments.get(name)}
        if not all(type(value) is kinds[name] for name, value in given.items()):
            raise ActionError("undo: numbers are whole, and an incident is a word")
        return cls(**cast("dict[str, Any]", given))


def undo(
    ledger: Ledger,
    actions: Mapping[ActionName, Action],
    selection: Selection,
    *,
    force: bool = False,
    dry_run: bool = False,
) -> tuple[Receipt, ...]:
    """Take back what is selected; returns a receipt for each.

    Raises:
        ActionError: nothing of that number or incident is in the ledger.
    """
    entries = _selected(ledger, selection)
    return tuple(_undo_one(ledger, actions, one, force=force, dry_run=dry_run) for one in entries)


def _selected(ledger: Ledger, selection: Selection) -> list[Entry]:
    if selection.number:
        entry = ledger.entry(selection.number)
        if entry is None:
            raise ActionError(f"the ledger has no entry {selection.number}")
        found: Iterable[Entry] = [entry]
        if entry.receipt.outcome == "intended":
            found = ledger.receipts_of(entry.id)
    else:
        found = ledger.entries(since_ns=selection.since_ns, incident=selection.incident)
    acted = [one for one in found if one.receipt.outcome == "done" and not one.undoes]
    if not acted and (selection.number or selection.incident):
        wanted = selection.number or selection.incident
        raise ActionError(f"{wanted}: nothing was done that could be taken back")
    return sorted(acted, key=lambda one: one.id, reverse=True)


def _undo_one(
    ledger: Ledger,
    actions: Mapping[ActionName, Action],
    entry: Entry,
    *,
    force: bool,
    dry_run: bool,
) -> Receipt:
    done = entry.receipt
    action = actions.get(cast("ActionName", done.action))
    obstacle = _obstacle(ledger, action, entry)
    if obstacle:
        return replace(done, outcome="nothing-to-do", reason=obstacle, undo={})
    assert action is not None  # noqa: S101 - _obstacle has said so
    if dry_run:
        return replace(done, outcome="would", reason="would be taken back", undo={})
    step = ledger.intend(entry.cause, replace(done, outcome="intended", reason="undo", undo={}))
    try:
        result = action.undo(done, force=force)
    except (FiredampError, OSError, KeyError, TypeError, ValueError) as error:
        result = replace(done, outcome="failed", reason=f"undo: {error}", undo={})
    result = replace(result, step=step)
    return replace(result, id=ledger.record(entry.cause, result, undoes=entry.id))


def _obstacle(ledger: Ledger, action: Action | None, entry: Entry) -> str:
    if action is None:
        return "this version does not know the action"
    if not action.reversible:
        return f"{action.name} cannot be taken back"
    if not entry.receipt.undo:
        return "there is nothing to take back"
    if ledger.was_undone(entry.id):
        return "it was taken back already"
    if entry.receipt.action in _BOUND_TO_BOOT and entry.boot != ledger.boot:
        return "the host was started anew since"
    return ""
