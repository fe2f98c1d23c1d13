# SPDX-License-Identifier: Apache-2.0
"""The file watch: changes of the places where trojans settle, by fanotify.

Marks are on inodes, so that a file nobody watches costs nothing. Two queues: one for the
places, one for the directories on the way to them, where the names of a busy home directory
must not push out what happened to a crontab.

What is seen (ext4 and tmpfs alike, Linux 6.18; each has a live test):

    write, append, truncate, O_TRUNC, fallocate,      write, with the lines that are new
    copy_file_range, sendfile, splice, io_uring
    opened for writing, closed unchanged              open
    create, mkdir, mknod                              create
    rename in, within, over, swap of a symbolic link  rename, with the old path if known
    link, linkat of an O_TMPFILE file, symlink        link
    a watched file gets a name elsewhere              link, of the watched path
    unlink, rmdir, rename out                         delete
    chmod, chown, utime, setxattr                     attributes
    by another hard link, a bind mount, another       as above, with the watched path
    mount namespace, /proc/PID/root
    store through mmap                                write, but only at the unmapping

What another hook must tell, that sees an inode dirtied (`wrote()`):

    store through a mapping that stays                write; later stores to the same page
                                                      dirty nothing, and are looked for
    chattr (+i, +a), on ext4                          attributes

What is not seen as it happens, and found by `compare()`, without the process:

    chattr elsewhere                    the kernel reports no ioctl
    a file system mounted over a place  `read()` notices, within a second
    a write from another host           of a network file system
    a write to the block device, or in a lower layer of an overlay

An attributes change that a queue merged with a creation or deletion is told as that alone.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from firedamp.errors import DecodeError, SourceError
from firedamp.events.model import UNKNOWN_PROCESS, Event, ProcessKey, RecordsLost
from firedamp.settings import Watch
from firedamp.sources import fanotify
from firedamp.sources.contents import Contents
from firedamp.sources.filechanges import NOBODY, Author, FileChanges
from firedamp.sources.mounts import MountTable
from firedamp.sources.pace import Pace
from firedamp.sources.places import Places
from firedamp.sources.watchlist import InodeKey, Watched, Watchlist

MAX_READS_AT_ONCE: Final = 4
"""Some 300 records: what others have to tell must not wait behind a flood of files."""
BACKLOG: Final = 32
"""Records of one read, a third of what fits, that show that more were waiting."""
MAX_DRAINS: Final = 64
"""More than a queue holds, so that whoever writes without end does not hold us up."""
LOOK_S: Final = 1.0
"""How often that is looked for of which no descriptor tells."""
SOURCE: Final = "fanotify"

_FILE_MASK = fanotify.MODIFY | fanotify.CLOSE_WRITE | fanotify.ATTRIB
_REPORT_NAMES = fanotify.REPORT_FID | fanotify.REPORT_DIR_FID | fanotify.REPORT_NAME
_MOVES = fanotify.MOVED_FROM | fanotify.MOVED_TO


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to use fanotify, as deep as a kernel offers it."""

    hook: str
    flags: int
    names: int
    """Mask of what happens to names in a directory."""
    has_pidfds: bool


VARIANTS: Final = (
    Variant(
        hook="fanotify: both ends of renames, process by pidfd",
        flags=_REPORT_NAMES | fanotify.REPORT_PIDFD | fanotify.REPORT_TARGET_FID,
        names=fanotify.CREATE | fanotify.DELETE | fanotify.RENAME,
        has_pidfds=True,
    ),
    Variant(
        hook="fanotify: process by pidfd",
        flags=_REPORT_NAMES | fanotify.REPORT_PIDFD,
        names=fanotify.CREATE | fanotify.DELETE | _MOVES,
        has_pidfds=True,
    ),
    Variant(
        hook="fanotify: process by PID, which can have come round again",
        flags=_REPORT_NAMES,
        names=fanotify.CREATE | fanotify.DELETE | _MOVES,
        has_pidfds=False,
    ),
)


class FileWatch:
    """A source of `FileChanged` events.

    Raises:
        SourceError: on construction, if the kernel offers no usable fanotify.
    """

    def __init__(self, watch: Watch, *, variants: tuple[Variant, ...] = VARIANTS) -> None:
        self._variant, self._in_places, self._on_the_way = _open_groups(variants)
        self._places = Places(watch)
        contents = Contents()
        self._watchlist = Watchlist(self._places, contents, self._mark)
        self._changes = FileChanges(self._places, self._watchlist, contents)
        self._mounts = MountTable()
        self._pace = Pace()
        self._pace.add(self._in_places.fileno())
        self._pace.add(self._on_the_way.fileno())
        self._lost = 0
        self._must_compare = False
        self.has_more = False
        """The last `read()` left something: do not wait before the next."""
        self._look_at = 0.0
        self.on_change: Callable[[set[InodeKey], set[InodeKey]], None] | None = None
        """Called by `read()` with the inodes that are watched now and those that are not any
        more; either can hold some of which that was told before."""
        self._watchlist.walk()
        self._watchlist.moves()

    @property
    def hook(self) -> str:
        """What is in use, for a person to read."""
        return self._variant.hook

    @property
    def ignored(self) -> set[int]:
        """PIDs whose changes are not told: our own, and those that the caller adds."""
        return self._changes.ignored

    @property
    def watched(self) -> int:
        """How many inodes carry a mark."""
        return len(self._watchlist)

    @property
    def unwatchable(self) -> int:
        """How many could not be given one."""
        return self._watchlist.unwatchable

    def filenos(self) -> tuple[int, ...]:
        return (self._pace.fileno(),)

    def read(self) -> list[Event]:
        """What has changed since the last call, within bounds: more may be left.

        To be called now and then even if nothing is ready to be read: mounts and late stores
        through mappings are looked for, once in a second. Without news it takes about 2 µs.
        """
        events: list[Event] = []
        if self._pace.has_news():
            self.has_more = False
            for group in (self._in_places, self._on_the_way):
                self.has_more |= self._drain(group, events)
            if not self.has_more:
                self._pace.has_read()
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_S
            events += self._changes.of_late_stores(now)
            if any(self._places.nodes(point) for point in self._mounts.changed()):
                self._must_compare = True
        if self._changes.accounts_changed:
            self._changes.accounts_changed = False
            self._must_compare |= self._places.refresh()
        if self._must_compare:
            events += self._compare()
        self._tell_inodes()
        return events

    def losses(self) -> list[RecordsLost]:
        """What the kernel could not queue. How much that was it does not say: 1 is at least 1."""
        if not self._lost:
            return []
        lost, self._lost = self._lost, 0
        return [
            RecordsLost(
                at_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME),
                process=UNKNOWN_PROCESS,
                source=SOURCE,
                kind="file",
                count=lost,
            )
        ]

    def close(self) -> None:
        self._pace.close()
        self._mounts.close()
        self._in_places.close()
        self._on_the_way.close()

    def compare(self) -> list[Event]:
        """Look at every place again, and tell what differs from what is remembered.

        Finds what no record told, `read()` what does; costs about 50 µs for each inode.
        """
        events: list[Event] = []
        for group in (self._in_places, self._on_the_way):
            for _ in range(MAX_DRAINS):  # the records know by whom, which the look will not
                if not self._drain(group, events):
                    break
        events += self._compare()
        self._tell_inodes()
        return events

    def watched_inodes(self) -> set[InodeKey]:
        """(device as the kernel encodes it, inode) of all that another hook should watch."""
        return self._watchlist.keys()

    def describe(self, device: int, inode: int) -> tuple[str, str] | None:
        """Path and place of a watched inode; None if it is not watched (any more)."""
        watched = self._watchlist.numbered((device, inode))
        if watched is None or watched.place is None:
            return None
        return watched.path, watched.place

    def wrote(self, device: int, inode: int, process: ProcessKey, uid: int) -> list[Event]:
        """The events for a watched inode that another hook saw a process dirty.

        Empty where it was told already, and for directories: their changes are all seen here.
        """
        watched = self._watchlist.numbered((device, inode))
        if watched is None or watched.facts.is_directory:
            return []
        author = Author(process.pid, known=(process, uid))
        return self._changes.of_dirty(watched, author, time.monotonic())

    def _compare(self) -> list[Event]:
        self._must_compare = False
        self._places.refresh()
        return self._changes.of_walk(self._watchlist.walk(), NOBODY)

    def _drain(self, group: fanotify.Group, events: list[Event]) -> bool:
        """Append what the queue holds to `events`; says whether there is a backlog.

        A few records at a time are no backlog, however often they come: somebody writes as fast as
        we read, and is better left to merge his news while we rest.
        """
        authors: dict[int, Author] = {}
        records: list[fanotify.Record] = []
        for _ in range(MAX_READS_AT_ONCE):
            try:
                records = group.read()
            except DecodeError:
                self._lost += 1
                continue
            if not records:
                return False
            for record in records:
                events += self._read_one(record, authors, group)
        return len(records) >= BACKLOG

    def _read_one(
        self, record: fanotify.Record, authors: dict[int, Author], group: fanotify.Group
    ) -> list[Event]:
        try:
            if record.mask & fanotify.Q_OVERFLOW:
                # On the way to the places nothing is lost by it: the walk finds what is new.
                self._lost += group is self._in_places
                self._must_compare = True
                return []
            # Who it is need be asked once in a batch, unless the first was gone already.
            author = authors.get(record.pid)
            if author is None or author.pidfd < 0:
                author = Author(record.pid, record.pidfd, has_pidfds=self._variant.has_pidfds)
                authors[record.pid] = author
            author.pidfd = record.pidfd
            return self._changes.of_record(record, author)
        finally:
            if record.pidfd >= 0:
                os.close(record.pidfd)

    def _tell_inodes(self) -> None:
        if self.on_change is None:
            return
        came, went = self._watchlist.moves()
        if came or went:
            self.on_change(came, went)

    def _mark(self, fd: int, watched: Watched) -> None:
        if not watched.facts.is_directory:
            self._in_places.mark(fd, _FILE_MASK)
        elif watched.has_entries:
            names = self._variant.names | fanotify.ONDIR | fanotify.EVENT_ON_CHILD
            self._in_places.mark(fd, _FILE_MASK | names)
        else:
            self._on_the_way.mark(fd, self._variant.names | fanotify.ONDIR)


def _open_groups(variants: tuple[Variant, ...]) -> tuple[Variant, fanotify.Group, fanotify.Group]:
    errors = []
    for variant in variants:
        try:
            in_places = fanotify.Group(variant.flags | fanotify.UNLIMITED_MARKS)
        except OSError as error:
            errors.append(f"{variant.hook}: {error.strerror}")
            continue
        return variant, in_places, fanotify.Group(variant.flags | fanotify.UNLIMITED_MARKS)
    raise SourceError("; ".join(errors) or "no variant of fanotify to try")
