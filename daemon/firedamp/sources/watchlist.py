# SPDX-License-Identifier: Apache-2.0
"""Which inodes are watched at the moment, under which path, and how that is kept true.

Rule 1. A directory is marked before it is listed, so that nothing can appear between the two.
Rule 2. Every directory on the way to a place is watched for names, existing or not: a place
        that comes to be later, or comes back as another directory, is found by its name.
Rule 3. Watched files are marked themselves, so that a change is seen by whatever other name,
        mount or namespace it comes.
Rule 4. A root other than / is never left through a symbolic link.
"""

import ctypes
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from firedamp.sources import fanotify, filefacts
from firedamp.sources.contents import Contents, Look
from firedamp.sources.fanotify import FileId
from firedamp.sources.filefacts import FileFacts
from firedamp.sources.places import Nodes, Places, place_at, step

InodeKey = tuple[int, int]
"""Device as the kernel encodes it, and inode."""
Mark = Callable[[int, "Watched"], None]
"""Asks the kernel to report changes of what the descriptor is open on."""

MAX_WATCHED: Final = 200_000
"""A mark pins an inode, about 1 KiB: bounds what a directory full of files can cost."""

NO_WRITER: Final = -1

_SYS_OPENAT2 = 437  # the same on every architecture
_RESOLVE_IN_ROOT = 0x10
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(slots=True, eq=False)
class Watched:
    """A file or directory that carries a mark."""

    path: str
    identity: FileId
    nodes: Nodes
    facts: FileFacts
    round: int = 0
    writer: int = NO_WRITER
    """PID whose writing was told last, until it closes the file."""
    teller: int = NO_WRITER
    """PID whose writing was told last."""

    @property
    def place(self) -> str | None:
        return place_at(self.nodes)

    @property
    def has_entries(self) -> bool:
        """It is a directory of a place; else, if a directory, only on the way to one."""
        return any(node.has_entries for node in self.nodes)

    @property
    def key(self) -> InodeKey:
        return self.facts.device, self.facts.inode


@dataclass(slots=True)
class Walk:
    """What a walk found to be otherwise than it was remembered."""

    found: list[tuple[Watched, Look]] = field(default_factory=list)
    changed: list[tuple[Watched, FileFacts, Look]] = field(default_factory=list)
    """With the facts from before."""
    gone: list[Watched] = field(default_factory=list)


class Watchlist:
    """The marked inodes, by identity, path and number."""

    def __init__(self, places: Places, contents: Contents, mark: Mark) -> None:
        self._places = places
        self._contents = contents
        self._mark = mark
        self._round = 0
        self._by_id: dict[FileId, Watched] = {}
        self._by_path: dict[str, Watched] = {}
        self._by_key: dict[InodeKey, Watched] = {}
        self._touched: set[InodeKey] = set()
        self.unwatchable = 0
        """Files and directories that could not be marked, since the last full walk."""

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Watched]:
        return iter(self._by_id.values())

    def get(self, identity: FileId) -> Watched | None:
        return self._by_id.get(identity)

    def at(self, path: str) -> Watched | None:
        return self._by_path.get(path)

    def numbered(self, key: InodeKey) -> Watched | None:
        return self._by_key.get(key)

    def keys(self) -> set[InodeKey]:
        """The inodes of watched files and of directories whose entries are watched."""
        return {watched.key for watched in self if watched.place}

    def moves(self) -> tuple[set[InodeKey], set[InodeKey]]:
        """What came and went since the last call: inodes of places, and those that are not now."""
        touched, self._touched = self._touched, set()
        here = {key for key in touched if key in self._by_key and self._by_key[key].place}
        return here, touched - here

    def walk(self) -> Walk:
        """Look at every place again, from the roots."""
        self._round += 1
        self.unwatchable = 0
        walk = Walk()
        for root in self._places.roots:
            start = _existing(root)
            self._cover(start, self._places.nodes(start), walk)
        stale = [watched for watched in self if watched.round != self._round]
        for watched in stale:
            self._drop(watched)
        # What was replaced has the path of what replaced it; what lies in the home of an
        # account that is no more is there all the same. Neither is gone.
        walk.gone += (watched for watched in stale if not os.path.lexists(watched.path))
        return walk

    def cover(self, path: str, nodes: Nodes) -> Walk:
        """Watch what a path is now, and all that matters below it."""
        walk = Walk()
        self._cover(path, nodes, walk)
        return walk

    def forget(self, path: str) -> list[Watched]:
        """Stop knowing a path and all below it; says what was known there."""
        known = self._by_path.get(path)
        if known is None:
            return []
        gone = [known]
        if known.facts.is_directory:
            below = path.rstrip("/") + "/"
            gone += (watched for at, watched in self._by_path.items() if at.startswith(below))
        for watched in gone:
            self._drop(watched)
        return gone

    def open(self, path: str) -> int:
        """An O_PATH descriptor for what a path leads to, links followed inside its root.

        Raises:
            OSError: there is nothing.
        """
        root = max((r for r in self._places.roots if _is_below(path, r)), key=len, default="/")
        if root == "/":
            return os.open(path, os.O_PATH | os.O_CLOEXEC)
        fd = os.open(root, os.O_PATH | os.O_CLOEXEC)
        try:
            return _open_in_root(fd, os.path.relpath(path, root))
        finally:
            os.close(fd)

    def look(self, watched: Watched) -> Look | None:
        """What is new in a watched file, and remember how it is now.

        None if its path leads to another file meanwhile, or to none: the news is to come.
        """
        try:
            fd = self.open(watched.path)
        except OSError:
            return None
        try:
            facts = filefacts.of_descriptor(fd)
            if (facts.device, facts.inode) != watched.key:
                return None
            watched.facts = facts
            return self._contents.look(watched.path, fd, facts)
        finally:
            os.close(fd)

    def _cover(self, path: str, nodes: Nodes, walk: Walk) -> None:
        if not nodes:
            return
        try:
            fd = self.open(path)
        except OSError:
            return
        try:
            names = self._cover_open(path, nodes, walk, fd=fd)
        except OSError:
            self.unwatchable += 1
            return
        finally:
            os.close(fd)
        for name in names:
            below = f"/{name}" if path == "/" else f"{path}/{name}"
            self._cover(below, step(nodes, name), walk)

    def _cover_open(self, path: str, nodes: Nodes, walk: Walk, *, fd: int) -> set[str]:
        facts = filefacts.of_descriptor(fd)
        if facts.is_directory:
            if not any(node.children or node.globs for node in nodes):
                return set()
        elif not facts.is_regular or place_at(nodes) is None:
            return set()
        identity = fanotify.file_id(fd)
        known = self._by_id.get(identity)
        if known is not None and known.path != path and not _leads_to(known):
            self._drop(known)  # it was moved here, which the old place has yet to tell
            known = None
        if known is None:
            self._add(Watched(path, identity, nodes, facts, self._round), fd, walk)
        else:
            self._revisit(known, nodes, facts, walk, fd=fd)
        return _names(fd, nodes) if facts.is_directory else set()

    def _add(self, watched: Watched, fd: int, walk: Walk) -> None:
        if len(self._by_id) >= MAX_WATCHED:
            raise OSError(f"more than {MAX_WATCHED} files to watch")
        self._mark(fd, watched)
        replaced = self._by_path.get(watched.path)
        if replaced is not None:
            self._drop(replaced)
        self._by_id[watched.identity] = watched
        self._by_path[watched.path] = watched
        self._by_key[watched.key] = watched
        self._touched.add(watched.key)
        look = Look(is_changed=True)
        if watched.facts.is_regular:
            look = self._contents.look(watched.path, fd, watched.facts)
        walk.found.append((watched, look))

    def _revisit(
        self, known: Watched, nodes: Nodes, facts: FileFacts, walk: Walk, *, fd: int
    ) -> None:
        had_entries = known.has_entries
        if known.round != self._round:
            known.round, known.nodes = self._round, nodes
        else:
            known.nodes = tuple(dict.fromkeys((*known.nodes, *nodes)))
        if known.has_entries and not had_entries:
            self._mark(fd, known)
        before, known.facts = known.facts, facts
        if facts.is_regular and facts != before:
            walk.changed.append((known, before, self._contents.look(known.path, fd, facts)))

    def _drop(self, watched: Watched) -> None:
        if self._by_id.get(watched.identity) is watched:
            del self._by_id[watched.identity]
        if self._by_key.get(watched.key) is watched:
            del self._by_key[watched.key]
            self._touched.add(watched.key)
        if self._by_path.get(watched.path) is watched:
            del self._by_path[watched.path]
            self._contents.vanished(watched.path)


def _leads_to(watched: Watched) -> bool:
    try:
        facts = os.stat(watched.path)
    except OSError:
        return False
    return facts.st_ino == watched.facts.inode


def _names(fd: int, nodes: Nodes) -> set[str]:
    """Names below a directory that matter: all if a pattern has wildcards, else those named."""
    if not any(node.globs for node in nodes):
        return {name for node in nodes for name in node.children}
    with os.scandir(f"/proc/self/fd/{fd}") as entries:
        return {entry.name for entry in entries}


def _existing(path: str) -> str:
    """The path, or the nearest directory above it that exists."""
    while path != "/" and not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def _is_below(path: str, root: str) -> bool:
    return root in ("/", path) or path.startswith(root + "/")


def _open_in_root(root_fd: int, path: str) -> int:
    how = struct.pack("=QQQ", os.O_PATH | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT)
    fd: int = _libc.syscall(_SYS_OPENAT2, root_fd, os.fsencode(path), how, len(how))
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return fd
