# SPDX-License-Identifier: Apache-2.0
"""Stop a whole tree where it stands, so that nothing respawns and someone can look at it.

Its memory stays intact, and the inverse lets all of it go on. What is frozen stays so for as
long as the daemon lives, and no longer: the keeper continues it.
"""

import signal
from typing import ClassVar, cast

from firedamp.errors import ActionError
from firedamp.events.model import ProcessKey
from firedamp.policy.types import ActionName, Decision
from firedamp.response.base import Intend, Outcome, Receipt
from firedamp.response.host import Host, describe, describe_all
from firedamp.response.members import Keeper, Members

_TIMEOUT_S = 1.0


class Freeze:
    name: ClassVar[ActionName] = "freeze"
    reversible: ClassVar[bool] = True

    def __init__(self, host: Host, keeper: Keeper) -> None:
        self._host = host
        self._keeper = keeper

    def plan(self, decision: Decision, members: Members) -> tuple[str, ...]:
        return tuple(describe(self._host, key) for key in members.keys)

    def apply(self, decision: Decision, members: Members, intend: Intend) -> tuple[Receipt, ...]:
        target = describe_all(self._host, members.keys)
        if set(members.keys) <= set(self._keeper.held()):
            return (self._receipt("nothing-to-do", target, reason="it is frozen already"),)
        step = intend(target, processes_to_json(members.keys))
        try:
            with self._host.urgent():
                still = self._freeze(decision, members)
        except ActionError as error:
            return (self._receipt("failed", target, step=step, reason=str(error)),)
        stopped = tuple(key for key in members.keys if key in members.stopped)
        done = Receipt(
            action=self.name,
            outcome="done",
            target=describe_all(self._host, stopped),
            undo=processes_to_json(stopped),
            step=step,
        )
        return (done, *(() if still else self._unstopped(members, step)))

    def undo(self, receipt: Receipt, *, force: bool = False) -> Receipt:
        lived = self.release(receipt)
        reason = "" if lived else "none of the processes lives any more"
        return self._receipt("undone", receipt.target, reason=reason)

    def _freeze(self, decision: Decision, members: Members) -> bool:
        still = members.freeze(_TIMEOUT_S)
        # Looking at all of /proc takes milliseconds. With nothing to be done before the kill
        # they are better spent after it, and the kill looks for itself.
        if set(decision.actions) != {"freeze", "kill"} and members.sweep():
            return members.freeze(_TIMEOUT_S)
        return still

    def release(self, receipt: Receipt, *, below: bool = False) -> bool:
        """Let the processes of a receipt go on; True if any of them lived.

        With `below`, also those below them that stand still: an intent names only the roots.
        """
        lived = False
        todo = list(processes_from_json(receipt))
        while todo:
            key = todo.pop()
            try:
                self._host.pin(key)
                if below:
                    todo += [k for k in self._host.children(key) if self._stands(k)]
                self._host.send_signal(key, signal.SIGCONT)
                lived = True
            except ActionError:
                continue  # it ended; nothing stands still any more
            finally:
                self._host.release((key,))
                self._keeper.forget((key,))
        return lived

    def _stands(self, key: ProcessKey) -> bool:
        try:
            return self._host.stat(key).state == "T"
        except ActionError:
            return False

    def _unstopped(self, members: Members, step: int) -> tuple[Receipt, ...]:
        running = [key for key in members.keys if self._host.standing(key) == "running"]
        return tuple(
            self._receipt("failed", describe(self._host, key), step=step, reason="still runs")
            for key in running
        )

    def _receipt(self, outcome: Outcome, target: str, *, reason: str, step: int = 0) -> Receipt:
        return Receipt(action=self.name, outcome=outcome, target=target, reason=reason, step=step)


def processes_to_json(keys: tuple[ProcessKey, ...]) -> dict[str, object]:
    return {"processes": [list(key) for key in keys]}


def processes_from_json(receipt: Receipt) -> tuple[ProcessKey, ...]:
    pairs = cast("list[tuple[int, int]]", receipt.undo.get("processes", []))
    return tuple(ProcessKey(pid, ticks) for pid, ticks in pairs)
