# SPDX-License-Identifier: Apache-2.0
"""Turns the kernel's records about watched inodes into `FileChanged`.

Rule 1. A change of contents is told once for each process that makes it: the kernel reports
        each write() and then the close, and a look at the file tells what is new.
Rule 2. Opening for writing and closing without a change is told too, as "open".
Rule 3. What a process in `ignored` does is taken in and not told.
"""

import os
import time
from dataclasses import dataclass
from typing import Final

from firedamp.events.model import UNKNOWN_PROCESS, Event, FileChanged, FileOperation, ProcessKey
from firedamp.sources import fanotify, filefacts
from firedamp.sources.contents import Contents, Look
from firedamp.sources.fanotify import Entry, FileId, Record
from firedamp.sources.filefacts import FileFacts
from firedamp.sources.places import Nodes, Places, place_at, step
from firedamp.sources.procfs import NO_UID, identify
from firedamp.sources.watchlist import NO_WRITER, Walk, Watched, Watchlist

MAX_DIRTIED: Final = 64
DIRTIED_S: Final = 600.0
EXPLAINED_S: Final = 10.0
"""For how many files, and how long, stores are looked for that no hook can see: not for long
where it was a write that dirtied the file, of which a record has told."""
DIRTY_PAUSE_S: Final = 0.05

_CAME = fanotify.CREATE | fanotify.MOVED_TO
_WENT = fanotify.DELETE | fanotify.MOVED_FROM
_CONTENT = fanotify.MODIFY | fanotify.CLOSE_WRITE


@dataclass(slots=True)
class Author:
    """Who made a change; looked up only once somebody wants to know."""

    pid: int = 0
    pidfd: int = fanotify.NO_PIDFD
    has_pidfds: bool = True
    known: tuple[ProcessKey, int] | None = None

    @property
    def key_and_uid(self) -> tuple[ProcessKey, int]:
        if self.known is None:
            self.known = identify(self.pid, self.pidfd if self.has_pidfds else None)
        return self.known


NOBODY = Author(known=(UNKNOWN_PROCESS, NO_UID))


@dataclass(slots=True)
class _Dirtied:
    """A file into which more may come than anybody tells."""

    author: Author
    looked_at: float
    until: float


@dataclass(slots=True)
class _Name:
    """A name in a watched directory, and what matters there."""

    path: str
    nodes: Nodes

    @property
    def place(self) -> str | None:
        return place_at(self.nodes)


class FileChanges:
    """What each record means, given what is watched. Looks at the host, but never waits."""

    def __init__(self, places: Places, watchlist: Watchlist, contents: Contents) -> None:
        self._places = places
        self._watchlist = watchlist
        self._contents = contents
        self._dirtied: dict[FileId, _Dirtied] = {}
        self.ignored = {os.getpid()}
        self.accounts_changed = False
        """A file changed from which places were learned: they must be worked out anew."""

    def of_record(self, record: Record, author: Author) -> list[Event]:
        """The changes that one record stands for."""
        events: list[Event] = []
        mask = record.mask
        name = self._name(record.entry)
        if mask & fanotify.RENAME:
            events += self._renamed(record, author)
        if mask & _CAME and name is not None:
            operation: FileOperation = "create" if mask & fanotify.CREATE else "rename"
            events += self._came(name, author, operation, mask=mask)
        elif mask & _CONTENT:
            events += self._written(record, name, author)
        if mask & _WENT and name is not None:
            events += self._went(name, author, record.target)
        elif mask & fanotify.ATTRIB and not mask & _CAME:
            events += self._attributes(record, name, author)
        return events

    def of_dirty(self, watched: Watched, author: Author, now: float) -> list[Event]:
        """Another hook saw a process dirty a watched file.

        By a store through a mapping, or by chattr, or in a way of which a record tells as well.
        """
        known = self._dirtied.get(watched.identity)
        if known is not None and now - known.looked_at < DIRTY_PAUSE_S:
            known.author = author
            return []
        before = watched.facts
        events = self._content_if_new(watched, author)
        if watched.facts.attributes != before.attributes:
            events += self._told(watched.path, watched, "attributes", author)
        is_explained = not events and watched.teller == author.pid
        until = now + (EXPLAINED_S if is_explained else DIRTIED_S)
        if len(self._dirtied) < MAX_DIRTIED or known is not None:
            self._dirtied[watched.identity] = _Dirtied(author, now, until)
        return events

    def of_late_stores(self, now: float) -> list[Event]:
        """What came into files that were dirtied some time ago, and not closed since.

        Only the first store to a page is told, before it is done; those that follow leave not
        even a time.
        """
        events: list[Event] = []
        for identity, dirtied in list(self._dirtied.items()):
            watched = self._watchlist.get(identity)
            if watched is None or now > dirtied.until:
                del self._dirtied[identity]
            else:
                events += self._content_if_new(watched, dirtied.author)
        return events

    def of_walk(self, walk: Walk, author: Author) -> list[Event]:
        """What a walk found, as changes made by `author`."""
        events: list[Event] = []
        for watched, look in walk.found:
            events += self._told(watched.path, watched, "create", author, added=look.added)
        for watched, before, look in walk.changed:
            if look.is_changed:
                events += self._told(watched.path, watched, "write", author, added=look.added)
            if _rights(watched.facts) != _rights(before):
                events += self._told(watched.path, watched, "attributes", author)
        for watched in walk.gone:
            events += self._told(watched.path, watched, "delete", author)
        return events

    def _path(self, entry: Entry | None) -> str:
        directory = self._watchlist.get(entry.directory) if entry is not None else None
        if entry is None or directory is None:
            return ""
        if entry.name in ("", "."):
            return directory.path
        return f"{directory.path.rstrip('/')}/{entry.name}"

    def _name(self, entry: Entry | None) -> _Name | None:
        directory = self._watchlist.get(entry.directory) if entry is not None else None
        if entry is None or directory is None:
            return None
        if entry.name in ("", "."):
            return _Name(directory.path, directory.nodes)
        nodes = step(directory.nodes, entry.name)
        return _Name(self._path(entry), nodes) if nodes else None

    def _came(
        self,
        name: _Name,
        author: Author,
        operation: FileOperation,
        *,
        mask: int = 0,
        old_path: str = "",
    ) -> list[Event]:
        known = self._watchlist.at(name.path)
        walk = self._watchlist.cover(name.path, name.nodes)
        self._note(name.path)
        now = self._watchlist.at(name.path)
        added = next((look.added for found, look in walk.found if found is now), ())
        walk.found = [found for found in walk.found if found[0] is not now]
        below = self.of_walk(walk, author)
        if name.place is None:
            return below
        closed = bool(mask & fanotify.CLOSE_WRITE)
        if now is not None and now is known and operation == "create":
            # The walk through a new directory was ahead of this news, and has told it.
            wrote = bool(mask & fanotify.MODIFY)
            return self._content(now, author, wrote=wrote, closed=closed) if wrote else below
        if now is not None:
            now.teller = author.pid
            now.writer = NO_WRITER if closed or operation != "create" else author.pid
        facts = _facts(name.path)
        if operation == "create" and facts is not None and _is_link(facts):
            operation = "link"
        told = self._changed(name, operation, author, facts=facts, added=added, old_path=old_path)
        return told + below

    def _went(self, name: _Name, author: Author, target: FileId) -> list[Event]:
        gone: list[Watched] = []
        occupant = self._watchlist.at(name.path)
        # The news may be old, and another file have taken the path already.
        if occupant is None or not target or occupant.identity == target:
            gone = self._watchlist.forget(name.path)
            if not target:
                self._watchlist.cover(name.path, name.nodes)
        self._note(name.path)
        if author.pid in self.ignored:
            for watched in gone:
                self._contents.forget(watched.path)
        events: list[Event] = []
        if name.place is not None:
            facts = next((w.facts for w in gone if w.path == name.path), None)
            events += self._changed(name, "delete", author, facts=facts)
        for watched in gone:
            if watched.path != name.path:
                events += self._told(watched.path, watched, "delete", author)
        return events

    def _renamed(self, record: Record, author: Author) -> list[Event]:
        old, new = self._name(record.old), self._name(record.new)
        events: list[Event] = []
        if old is not None and new is not None and new.place is not None:
            self._watchlist.forget(old.path)
            self._note(old.path)
        elif old is not None:
            occupant = self._watchlist.at(old.path)
            if occupant is None or occupant.identity == record.target:  # else: an exchange
                events += self._went(old, author, record.target)
        if new is not None:
            events += self._came(new, author, "rename", old_path=self._path(record.old))
        return events

    def _written(self, record: Record, name: _Name | None, author: Author) -> list[Event]:
        watched = self._watchlist.get(record.target)
        wrote = bool(record.mask & fanotify.MODIFY)
        closed = bool(record.mask & fanotify.CLOSE_WRITE)
        if watched is not None:
            return self._content(watched, author, wrote=wrote, closed=closed)
        # Not known, and no news of its coming: written before it was marked, or a file
        # without a name yet (O_TMPFILE), which has its news when it is given one.
        if name is None or name.place is None or not os.path.lexists(name.path):
            return []
        walk = self._watchlist.cover(name.path, name.nodes)
        added = next((look.added for found, look in walk.found if found.path == name.path), ())
        facts = _facts(name.path)
        return self._changed(name, "write" if wrote else "open", author, facts=facts, added=added)

    def _content(
        self, watched: Watched, author: Author, *, wrote: bool, closed: bool
    ) -> list[Event]:
        look = self._watchlist.look(watched) or Look(is_changed=True)
        if author.pid in self.ignored:
            self._contents.settle(watched.path)
        is_told = watched.writer == author.pid and not look.is_changed
        watched.writer = NO_WRITER if closed else author.pid
        if closed:
            self._dirtied.pop(watched.identity, None)
        if is_told:
            return []
        watched.teller = author.pid
        self._note(watched.path)
        operation: FileOperation = "write" if wrote or look.is_changed else "open"
        return self._told(watched.path, watched, operation, author, added=look.added)

    def _content_if_new(self, watched: Watched, author: Author) -> list[Event]:
        look = self._watchlist.look(watched)
        if look is None or not look.is_changed:
            return []
        watched.writer = watched.teller = author.pid
        self._note(watched.path)
        return self._told(watched.path, watched, "write", author, added=look.added)

    def _attributes(self, record: Record, name: _Name | None, author: Author) -> list[Event]:
        watched = self._watchlist.get(record.target)
        if watched is None:
            if name is None or name.place is None:
                return []
            facts = _facts(name.path)
            return self._changed(name, "attributes", author, facts=facts) if facts else []
        before = watched.facts
        self._refresh(watched)
        if record.entry is not None:
            return self._told(watched.path, watched, "attributes", author)
        # Without a name it is the link count that changed: a new name is news, while the
        # loss of one is told by the directory that held it.
        if watched.facts.link_count > before.link_count:
            return self._told(watched.path, watched, "link", author)
        return []

    def _refresh(self, watched: Watched) -> None:
        try:
            fd = self._watchlist.open(watched.path)
        except OSError:
            return
        try:
            facts = filefacts.of_descriptor(fd)
        finally:
            os.close(fd)
        if (facts.device, facts.inode) == watched.key:
            watched.facts = facts

    def _note(self, path: str) -> None:
        if path in self._places.account_files:
            self.accounts_changed = True

    def _told(
        self,
        path: str,
        watched: Watched,
        operation: FileOperation,
        author: Author,
        *,
        added: tuple[str, ...] = (),
    ) -> list[Event]:
        name = _Name(path, watched.nodes)
        return self._changed(name, operation, author, facts=watched.facts, added=added)

    def _changed(
        self,
        name: _Name,
        operation: FileOperation,
        author: Author,
        *,
        facts: FileFacts | None,
        added: tuple[str, ...] = (),
        old_path: str = "",
    ) -> list[Event]:
        if name.place is None or author.pid in self.ignored:
            return []
        process, uid = author.key_and_uid
        event = FileChanged(
            at_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME),
            process=process,
            path=name.path,
            old_path=old_path,
            operation=operation,
            place=name.place,
            inode=facts.inode if facts else 0,
            device=facts.device if facts else 0,
            uid=uid,
            added_lines=added,
        )
        return [event]


def _facts(path: str) -> FileFacts | None:
    try:
        return filefacts.of_path(path)
    except OSError:
        return None


def _is_link(facts: FileFacts) -> bool:
    return facts.is_symlink or (facts.is_regular and facts.link_count > 1)


def _rights(facts: FileFacts) -> tuple[int, int, int, int]:
    return facts.mode, facts.uid, facts.gid, facts.attributes
