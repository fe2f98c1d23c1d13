# SPDX-License-Identifier: Apache-2.0
"""What the last run left half done is finished or taken back, and said; at each start.

- Frozen processes are continued. The keeper has done so when the daemon died; whoever killed
  both at once is answered here.
- A file that was on its way to the vault is either there, or is back in its place.
- Lines, files and links that were being taken out are either out, or back in their places.
- A block that was begun is made; a kill is left as it is, for its processes may be others' by
  now, or may live on: what they do next is judged anew.
"""

from collections.abc import Mapping
from dataclasses import replace

from firedamp.response.base import Receipt
from firedamp.response.clean import Clean
from firedamp.response.freeze import Freeze
from firedamp.response.ledger import Entry, Ledger
from firedamp.response.quarantine import Quarantine

Takers = Mapping[str, Quarantine | Clean]
_ENDED = "the daemon ended in the middle of it"


def recover(
    ledger: Ledger, freeze: Freeze, quarantine: Quarantine, clean: Clean | None = None
) -> tuple[Receipt, ...]:
    """Resolve all that is open; returns what was done about it."""
    takers: Takers = {"quarantine": quarantine, **({"clean": clean} if clean else {})}
    receipts = [_resolve(entry, freeze, takers, ledger) for entry in ledger.open_intents()]
    reason = "the daemon that held them frozen ended; they go on"
    return (*receipts, *continue_frozen(ledger, freeze, reason))


def continue_frozen(ledger: Ledger, freeze: Freeze, reason: str) -> tuple[Receipt, ...]:
    """Let everything go on that this boot's runs froze and that still lives."""
    receipts = []
    for entry in ledger.in_force("freeze"):
        if entry.boot != ledger.boot or not freeze.release(entry.receipt):
            continue
        result = replace(entry.receipt, outcome="undone", reason=reason, undo={}, step=0)
        number = ledger.record(entry.cause, result, undoes=entry.id)
        receipts.append(replace(result, id=number))
    return tuple(receipts)


def _resolve(entry: Entry, freeze: Freeze, takers: Takers, ledger: Ledger) -> Receipt:
    intent = entry.receipt
    result = replace(intent, outcome="failed", reason=_ENDED, undo={})
    if intent.undo and intent.action in ("freeze", "kill"):
        if entry.boot == ledger.boot:
            freeze.release(intent, below=True)
        result = replace(result, reason=f"{_ENDED}; what is left of its processes goes on")
    elif intent.undo and intent.action in takers:
        result = takers[intent.action].finish(intent)
    elif intent.undo and intent.action == "block":
        result = replace(intent, outcome="done", reason=f"finished after {_ENDED}")
    result = replace(result, step=entry.id)
    return replace(result, id=ledger.record(entry.cause, result))
