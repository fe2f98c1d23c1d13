# SPDX-License-Identifier: Apache-2.0
"""What each actor put into the places where trojans settle: for whoever has to take it out again.

Rules:

1. Kept by actor, however long ago: a trojan settles first and may mine a week later. What bounds
   the memory is room, not time; the actor that changed something longest ago goes first.
2. An actor that changes a great many files forgets its own oldest changes, and nobody else's.
3. What nobody is known to have done is nobody's.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace

from firedamp.events.model import UNKNOWN_PROCESS, FileChanged, FileOperation, ProcessKey

MAX_ACTORS = 256
MAX_CHANGES = 128
"""Of one actor."""
MAX_CHARS = 1 << 20
"""In the lines of all."""
_KEPT = frozenset({"create", "write", "rename", "link"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A file of a watched place that an actor made or wrote to."""

    process: ProcessKey
    """Who of the actor did it."""
    path: str
    place: str
    operation: FileOperation
    device: int
    inode: int
    lines: tuple[str, ...]
    """That the file had then and not before."""
    at_ns: int


class ActorChanges:
    """Bounded; see above."""

    def __init__(self) -> None:
        self.evicted = 0
        self._chars = 0
        self._actors: OrderedDict[ProcessKey, list[Change]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._actors)

    def observe(self, actor: ProcessKey, event: FileChanged) -> None:
        """Remember a change; forget those of a file that the actor took away itself."""
        if event.operation == "delete":
            self._forget_file(actor, event.path)
        if event.operation not in _KEPT or actor.pid <= UNKNOWN_PROCESS.pid:
            return
        changes = self._actors.setdefault(actor, [])
        self._actors.move_to_end(actor)
        changes.append(
            Change(
                process=event.process,
                path=event.path,
                place=event.place,
                operation=event.operation,
                device=event.device,
                inode=event.inode,
                lines=event.added_lines,
                at_ns=event.at_ns,
            )
        )
        self._chars += _chars(changes[-1])
        self._make_room(changes)

    def of(self, actor: ProcessKey) -> tuple[Change, ...]:
        """Oldest first.

        Where somebody else has put another file since, the actor's lines may be in that as well,
        but it is none that the actor made: then the change is told as a `write`.
        """
        mine = self._actors.get(actor, [])
        made = self._made_by_others(actor, {one.path for one in mine})
        return tuple(
            replace(one, operation="write") if made.get(one.path, 0) > one.at_ns else one
            for one in mine
        )

    def _made_by_others(self, actor: ProcessKey, paths: set[str]) -> dict[str, int]:
        """When each of these files was made anew last."""
        made: dict[str, int] = {}
        for other, changes in self._actors.items():
            for one in changes if other != actor else ():
                if one.path in paths and one.operation != "write":
                    made[one.path] = max(one.at_ns, made.get(one.path, 0))
        return made

    def _forget_file(self, actor: ProcessKey, path: str) -> None:
        changes = self._actors.get(actor, [])
        for gone in [one for one in changes if one.path == path]:
            changes.remove(gone)
            self._chars -= _chars(gone)
        if not changes:
            self._actors.pop(actor, None)

    def _make_room(self, changes: list[Change]) -> None:
        if len(changes) > MAX_CHANGES:
            self._chars -= _chars(changes.pop(0))
            self.evicted += 1
        while len(self._actors) > 1 and (len(self._actors) > MAX_ACTORS or self._chars > MAX_CHARS):
            _, gone = self._actors.popitem(last=False)
            self._chars -= sum(map(_chars, gone))
            self.evicted += len(gone)


def _chars(change: Change) -> int:
    return len(change.path) + sum(map(len, change.lines))
