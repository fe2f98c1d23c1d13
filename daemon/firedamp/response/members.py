# SPDX-License-Identifier: Apache-2.0
"""The processes of one decision, and how all of them are found.

Theory of operation. A process that runs can fork while we look, so a tree that runs can
never be listed. One that is stopped cannot. Therefore: stop the processes that we know, wait
until no thread of theirs runs, only then list their children, and do the same with those,
until there are none. Parents are stopped before their children are listed, so each round
cuts off a generation, and a fork bomb can only grow at the leaves that we have not reached.

What has lost its parent is not below anybody. `sweep` finds it if it is still in a process
group or session that a member leads: those outlive the leader, and only the leader's own
descendants are in them.

Every process passes the guards before it becomes a member. What is below one that did not
pass is left alone too.
"""

import signal
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from firedamp.errors import ActionError, Refused, Spared
from firedamp.events.model import ProcessKey
from firedamp.response.host import Host, ProcessStat

Guard = Callable[[ProcessKey], None]
"""Raises Refused for a process that must not be touched."""

_GENERATIONS = 200
_YIELD_S = 0.000_02
"""Between two looks. Without a pause we would keep the core busy that it needs to stop on."""
_SETTLE_S = 0.02
"""How long one round waits for signalled processes to stop. Where more want to run than there
are cores, a process stops only when its turn comes; until then it is looked at again."""


class Keeper(Protocol):
    """Lets frozen processes go on when the daemon dies; see `response.keeper`."""

    def hold(self, pidfds: Mapping[ProcessKey, int]) -> None:
        """Take them into care. Raises ActionError when that is not possible."""

    def forget(self, keys: Iterable[ProcessKey]) -> None: ...

    def held(self) -> tuple[ProcessKey, ...]:
        """Who is in its care."""


class Members:
    """Grows to hold every process of a decision; all of them pinned and past the guards."""

    def __init__(self, host: Host, guard: Guard, keeper: Keeper) -> None:
        self._host = host
        self._guard = guard
        self._keeper = keeper
        self._keys: dict[ProcessKey, None] = {}
        self._unsettled: dict[ProcessKey, None] = {}
        self.refused: dict[ProcessKey, str] = {}
        """Whom a guard protects, and why."""
        self.spared: set[ProcessKey] = set()
        """Of those, whose addresses may be blocked all the same."""
        self.gone: set[ProcessKey] = set()
        """Who had ended before we could take hold of it."""
        self.stopped: set[ProcessKey] = set()
        """Who has been sent SIGSTOP and is in the keeper's care."""

    @property
    def keys(self) -> tuple[ProcessKey, ...]:
        """All members, ancestors before descendants."""
        return tuple(self._keys)

    def admit(self, key: ProcessKey) -> bool:
        """Make it a member if it lives and no guard protects it. False: not a new member."""
        if key in self._keys or key in self.refused or key in self.gone:
            return False
        try:
            self._host.pin(key)
            self._guard(key)
        except Refused as refusal:
            self._host.release((key,))
            self.refused[key] = str(refusal)
            if isinstance(refusal, Spared):
                self.spared.add(key)
            return False
        except ActionError:
            self._host.release((key,))
            self.gone.add(key)
            return False
        self._keys[key] = None
        self._unsettled[key] = None
        return True

    def protects(self, key: ProcessKey) -> str:
        """Why this process, no member or one, must not be touched; empty if it may be, or ended.

        It becomes no member by being asked about.
        """
        if key in self._keys or key in self.gone:
            return ""
        if key not in self.refused:
            try:
                self._host.pin(key)
                self._guard(key)
            except Refused as refusal:
                return str(refusal)
            except ActionError:
                return ""
            finally:
                self._host.release((key,))
        return self.refused.get(key, "")

    def gather(self) -> None:
        """Find what is below the members without stopping anybody: a snapshot, no more."""
        todo = list(self._keys)
        for _ in range(_GENERATIONS):
            todo = [child for key in todo for child in self._host.children(key)]
            todo = [child for child in todo if self.admit(child)]
            if not todo:
                return

    def freeze(self, timeout_s: float) -> bool:
        """Stop the members and all below them until nobody new appears.

        Returns False when they still ran or multiplied at the deadline.

        Raises:
            ActionError: the keeper cannot be had; nobody is stopped who is not in its care.
        """
        until = time.monotonic() + timeout_s
        while True:
            self._stop([key for key in self._unsettled if key not in self.stopped])
            settled = self._await_stop(until)
            fresh = [child for key in self._unsettled for child in self._host.children(key)]
            for key in settled:
                del self._unsettled[key]
            fresh = [child for child in fresh if self.admit(child)]
            if not self._unsettled:
                return True
            if time.monotonic() > until:
                return False

    def sweep(self) -> tuple[ProcessKey, ...]:
        """Find what escaped: children missed, and orphans in groups that a member leads."""
        everyone = list(self._host.everyone())
        ours = {key.pid: key for key in self._keys}
        for stat in everyone:
            # The number went to somebody else: nobody can be known by it any more.
            if stat.key.pid in ours and stat.key != ours[stat.key.pid]:
                del ours[stat.key.pid]
        return tuple(stat.key for stat in everyone if _belongs(stat, ours) and self.admit(stat.key))

    def close(self, *, keep: bool) -> None:
        """Let go of all members; with `keep`, those that are stopped stay in the keeper's care."""
        if not keep:
            self._keeper.forget(self.stopped)
        self._host.release(self._keys)

    # ---- private ----------------------------------------------------------------------------

    def _stop(self, keys: list[ProcessKey]) -> None:
        if not keys:
            return
        self._keeper.hold({key: self._host.pidfd(key) for key in keys})
        for key in keys:
            self.stopped.add(key)
            try:
                self._host.send_signal(key, signal.SIGSTOP)
            except ActionError:
                continue  # it ended meanwhile, which is as good

    def _await_stop(self, until: float) -> list[ProcessKey]:
        """Who of the unsettled stands still, waiting a little for those who still run."""
        patience = min(until, time.monotonic() + _SETTLE_S)
        standing = {key: self._host.standing(key) for key in self._unsettled}
        while "running" in standing.values() and time.monotonic() < patience:
            time.sleep(_YIELD_S)
            for key, how in standing.items():
                if how != "stopped":
                    standing[key] = self._host.standing(key)
        return [key for key, how in standing.items() if how != "running"]


def _belongs(stat: ProcessStat, ours: Mapping[int, ProcessKey]) -> bool:
    for number in (stat.parent_pid, stat.group, stat.session):
        member = ours.get(number)
        if member is not None and stat.key.started_ticks >= member.started_ticks:
            return True
    return False
