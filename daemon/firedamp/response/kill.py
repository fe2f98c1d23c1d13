# SPDX-License-Identifier: Apache-2.0
"""End a whole tree by SIGKILL, and see that it is dead.

All of it is stopped first, so that no watchdog sees another die and starts it again. What
cannot be killed by the deadline (a process in an uninterruptible sleep) is said. There is no
inverse: `freeze` alone is what can be taken back.
"""

import signal
import time
from typing import ClassVar

from firedamp.errors import ActionError
from firedamp.events.model import ProcessKey
from firedamp.policy.types import ActionName, Decision
from firedamp.response.base import Intend, Outcome, Receipt
from firedamp.response.freeze import processes_to_json
from firedamp.response.host import Host, describe, describe_all
from firedamp.response.members import Members

_FREEZE_S = 0.3
"""How long to try to stop a tree before killing what of it is known, and trying again."""


class Kill:
    name: ClassVar[ActionName] = "kill"
    reversible: ClassVar[bool] = False

    def __init__(self, host: Host, *, deadline_s: float) -> None:
        self._host = host
        self._deadline_s = deadline_s

    def plan(self, decision: Decision, members: Members) -> tuple[str, ...]:
        return tuple(describe(self._host, key) for key in members.keys)

    def apply(self, decision: Decision, members: Members, intend: Intend) -> tuple[Receipt, ...]:
        target = describe_all(self._host, members.keys)
        step = intend(target, processes_to_json(members.keys))
        until = time.monotonic() + self._deadline_s
        self._kill_all(members, until)
        alive = self._host.await_deaths(members.keys, max(0.0, until - time.monotonic()))
        receipts = [
            self._receipt("failed", describe(self._host, key), step, self._why(key))
            for key in sorted(alive)
        ]
        dead = len(members.keys) - len(alive)
        if dead:
            # Its image cannot be asked for any more; `target` begins with the first one's.
            first = target.partition(" and ")[0] if members.keys[0] not in alive else "others"
            more = f" and {dead - 1} more" if dead > 1 else ""
            receipts.insert(0, self._receipt("done", first + more, step, ""))
        return tuple(receipts)

    def undo(self, receipt: Receipt, *, force: bool = False) -> Receipt:
        return self._receipt(
            "refused", receipt.target, 0, "a killed process cannot be brought back"
        )

    def _kill_all(self, members: Members, until: float) -> None:
        killed: set[ProcessKey] = set()
        while True:
            with self._host.urgent():
                self._stop(members, until)
                for key in members.keys:
                    if key not in killed:
                        killed.add(key)
                        self._signal(key)
            # Not urgent any more: those that were killed need a processor to die on.
            if time.monotonic() > until or not members.sweep():
                return

    def _stop(self, members: Members, until: float) -> None:
        try:
            members.freeze(min(_FREEZE_S, until - time.monotonic()))
        except ActionError:
            members.gather()  # without the keeper nobody may be stopped; killed they may be

    def _signal(self, key: ProcessKey) -> None:
        try:
            self._host.send_signal(key, signal.SIGKILL)
        except ActionError:
            return  # it ended already, or await_deaths will show that it has not

    def _why(self, key: ProcessKey) -> str:
        try:
            state = self._host.stat(key).state
        except ActionError:
            state = "unknown"
        return f"did not die within {self._deadline_s:g} s (state {state})"

    def _receipt(self, outcome: Outcome, target: str, step: int, reason: str) -> Receipt:
        return Receipt(action=self.name, outcome=outcome, target=target, reason=reason, step=step)
