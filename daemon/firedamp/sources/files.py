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

What is not seen as it happens, and found by `compare()`, without the process:

    chattr (+i, +a)                     the kernel reports no ioctl
    store through a mapping that stays  until unmapped; `wrote()` takes it from another source
    a file system mounted over a place  noticed by the mount table, which names no process
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
from firedamp.sources import fanotify, mounts
from firedamp.sources.contents import Contents
from firedamp.sources.filechanges import NOBODY, Author, FileChanges
from firedamp.sources.mounts import MountTable
from firedamp.sources.pace import Pace
from firedamp.sources.places import Places
from firedamp.sources.watchlist import InodeKey, Watched, Watchlist

MAX_READS_AT_ONCE: Final = 4
"""Some 300 records: what others have to tell must not wait behind a flood of files."""
MOUNT_CHECK_S: Final = 1.0
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
        self._pace.add_notice(self._mounts.fileno(), mounts.READY)
        self._lost = 0
        self._must_compare = False
        self._check_mounts_at = 0.0
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
        """What has changed since the last call, within bounds: more may be left."""
        self._pace.woken()
        events: list[Event] = []
        records = 0
        for group in (self._in_places, self._on_the_way):
            records += self._drain(group, events)
        if records:
            self._pace.has_read()
        self._check_mounts(was_woken_for_nothing=not records)
        if self._changes.accounts_changed:
            self._changes.accounts_changed = False
            self._must_compare |= self._places.refresh()
        if self._must_compare:
            events += self.compare()
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

        Finds what no record told; costs about 50 µs for each watched inode.
        """
        self._must_compare = False
        self._places.refresh()
        return self._changes.of_walk(self._watchlist.walk(), NOBODY)

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
        """The events for a write to a watched inode that another hook saw.

        Empty where it was told already, and for directories: their changes are all seen here.
        """
        watched = self._watchlist.numbered((device, inode))
        if watched is None or watched.facts.is_directory:
            return []
        return self._changes.of_write(watched, Author(process.pid, known=(process, uid)))

    def _drain(self, group: fanotify.Group, events: list[Event]) -> int:
        """Append what the queue holds to `events`; says how many records it was."""
        authors: dict[int, Author] = {}
        count = 0
        for _ in range(MAX_READS_AT_ONCE):
            try:
                records = group.read()
            except DecodeError:
                self._lost += 1
                continue
            if not records:
                break
            count += len(records)
            for record in records:
                events += self._read_one(record, authors, group)
        return count

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

    def _check_mounts(self, *, was_woken_for_nothing: bool) -> None:
        now = time.monotonic()
        if not was_woken_for_nothing and now < self._check_mounts_at:
            return
        self._check_mounts_at = now + MOUNT_CHECK_S
        if any(self._places.nodes(point) for point in self._mounts.changed()):
            self._must_compare = True

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
