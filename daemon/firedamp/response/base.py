# SPDX-License-Identifier: Apache-2.0
"""What a response is, and the one door through which responses touch the host.

An action is `apply`, which returns receipts, and `undo`, which needs nothing but a receipt.
Both are safe to repeat. Receipts outlive the daemon: they are stored in the ledger as JSON.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol

from firedamp.events.model import ProcessKey
from firedamp.policy.types import ActionName, Decision

Outcome = Literal["intended", "done", "refused", "failed", "nothing-to-do", "would", "undone"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """One step that was taken, refused or failed, with all that undoing it needs."""

    action: ActionName
    outcome: Outcome
    target: str
    """What was acted on, in words a person reads: `pid 4711 (/tmp/.x/kswapd0)`, a path, an
    address."""
    reason: str = ""
    """Why it was refused or failed; empty for done."""
    undo: Mapping[str, object] = field(default_factory=dict)
    """JSON-serialisable facts from which `undo` can reverse the step; empty where nothing is
    to be reversed."""


class Action(Protocol):
    """One verb of response and its inverse."""

    name: ClassVar[ActionName]
    reversible: ClassVar[bool]

    def plan(self, decision: Decision, members: tuple[ProcessKey, ...]) -> tuple[str, ...]:
        """What `apply` would act on, in words, changing nothing."""

    def apply(self, decision: Decision, members: tuple[ProcessKey, ...]) -> tuple[Receipt, ...]:
        """Do it to the processes `members` (guards have passed them) or to what they used."""

    def undo(self, receipt: Receipt) -> Receipt:
        """Take one receipt's step back; the result's outcome is undone, failed or refused."""
