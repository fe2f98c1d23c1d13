# SPDX-License-Identifier: Apache-2.0
"""What a response is: an action, its inverse, and the receipt that joins the two.

Rules, which every action keeps:

1. What an action is about to change is written down before it is changed: `intend` comes
   before the first call that cannot be taken back by doing nothing.
2. `apply` and `undo` are both safe to repeat.
3. `undo` needs nothing but the receipt. Receipts outlive the daemon: the ledger stores them.
4. A step that failed or was refused leaves a receipt too, and never stops the next step.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol

from firedamp.policy.types import ActionName, Decision
from firedamp.response.members import Members

Outcome = Literal["intended", "done", "refused", "failed", "nothing-to-do", "would", "undone"]
Subject = ActionName | Literal["breaker"]
"""What the ledger knows rows about: the actions, and the breaker that stops them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """One step that was taken, refused or failed, with all that undoing it needs."""

    action: Subject
    outcome: Outcome
    target: str
    """What was acted on, in words a person reads: `pid 4711 (/tmp/.x/kswapd0)`, a path, an
    address."""
    reason: str = ""
    """Why it was refused or failed; empty for done, unless something is left to say."""
    undo: Mapping[str, object] = field(default_factory=dict)
    """JSON-serialisable facts from which `undo` can reverse the step; empty where nothing is
    to be reversed."""
    step: int = 0
    """The ledger's number of the intent that this is the outcome of; 0: none was written."""
    id: int = 0
    """The ledger's number of this receipt: what `firedamp undo` takes. 0: not in the ledger."""

    def to_json(self) -> dict[str, object]:
        """What `firedamp undo` and its kin show; not what undoing needs."""
        return {
            "id": self.id,
            "step": self.step,
            "action": self.action,
            "outcome": self.outcome,
            "target": self.target,
            "reason": self.reason,
        }


class Intend(Protocol):
    """Write an intent to the ledger."""

    def __call__(self, target: str, undo: Mapping[str, object]) -> int:
        """Return the intent's number, which goes into the receipt as `step`.

        Raises:
            ActionError: the ledger cannot be written, so the action must not be taken.
        """


class Action(Protocol):
    """One verb of response and its inverse."""

    name: ClassVar[ActionName]
    reversible: ClassVar[bool]

    def plan(self, decision: Decision, members: Members) -> tuple[str, ...]:
        """What `apply` would act on, in words, changing nothing."""

    def apply(self, decision: Decision, members: Members, intend: Intend) -> tuple[Receipt, ...]:
        """Do it to the processes `members` (guards have passed them) or to what they used."""

    def undo(self, receipt: Receipt, *, force: bool = False) -> Receipt:
        """Take one receipt's step back; the result's outcome is undone, failed or refused.

        With `force`, also where that overwrites what has come to be in the meantime.
        """
