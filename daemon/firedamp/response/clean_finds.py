# SPDX-License-Identifier: Apache-2.0
"""What of an actor's changes is still there, and how much of each file is the actor's.

Hard rules, which no setting switches off:

1. Only in watched places, and only in those where something is started from or let in by; what
   accounts there are and who may become root is for a person to judge.
2. Only what the trace saw this actor put there: lines byte for byte, or a file that it made
   itself and in which nothing else is left. Never a file that a package owns.
3. Not what a process did that lives and that a guard protects.

Blind spots:

- What another actor left stays: of a miner that cron has started, the line that an earlier
  dropper wrote goes only with that dropper.
- A line that was in the file before stays, though the actor wrote one like it: of a block of
  shell, the `fi` may be left. And a line like the actor's goes, whoever wrote another.
- Who adds to a last line without an end has changed that line, and it goes whole.
"""

import contextlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, Self

from firedamp.analysis.places import place_of as doubts_about
from firedamp.context.changes import Change
from firedamp.errors import Refused
from firedamp.policy.types import Decision
from firedamp.response import files
from firedamp.response.clean_lines import MAX_BYTES, Span, open_to_read, spans_of, without
from firedamp.response.members import Members
from firedamp.response.packages import Packages

PlaceOf = Callable[[str], str | None]
"""The kind of watched place that a path is; None if it is none."""

_CLEANED = frozenset(
    {
        "at", "autostart", "cron", "environment", "init", "network_hook", "package_hook",
        "preload", "rc_local", "shell_profile", "ssh_keys", "systemd", "udev",
    }
)  # fmt: skip
_CUT_LINES, _CUT_CHARS = 64, 7_000
"""From so many on, a change may have had more lines than were told."""
_LIBRARY = re.compile(rb"/[^\s:]+")
_ELF = b"\x7fELF"

Kind = Literal["lines", "file", "link"]


@dataclass(slots=True)
class Work:
    """All that the actor did to one path."""

    path: str
    lines: set[str] = field(default_factory=set)
    made: set[int] = field(default_factory=set)
    """Inodes that came to the path by it. Their devices are left out: those that the kernel tells
    are not always those that stat(2) shows."""
    is_cut: bool = False
    """There were more lines than were told."""
    protected: str = ""
    """Why it must stay."""


@dataclass(slots=True, kw_only=True)
class Find:
    """Something that is there and belongs to the actor. Close it."""

    kind: Kind
    path: str
    place: str
    where: files.Place
    fd: int
    wanted: frozenset[str] = frozenset()
    """The actor's lines."""
    content: bytes = b""
    spans: tuple[Span, ...] = ()
    """Where they are in the content."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def taken(self) -> tuple[bytes, ...]:
        """What would be taken out, or all that a file has."""
        if self.kind == "lines":
            return tuple(self.content[at : at + length] for at, length in self.spans)
        return (self.content,)

    def give_up(self) -> int:
        """The descriptor, which is the caller's from now on."""
        fd, self.fd = self.fd, -1
        return fd

    def words(self) -> str:
        """What of it would be taken, for a person."""
        if self.kind != "lines":
            return self.path
        if len(self.spans) > 1:
            return f"{len(self.spans)} lines of {self.path}"
        return f"`{os.fsdecode(self.taken[0].strip())}` of {self.path}"

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
        self.where.close()


def works_of(decision: Decision, members: Members) -> list[Work]:
    """The changes by path, in the order in which they were first made."""
    works: dict[str, Work] = {}
    for change in decision.changes:
        work = works.setdefault(change.path, Work(change.path))
        why = members.protects(change.process)
        if why:
            work.protected = work.protected or why
        else:
            _add(work, change)
    return list(works.values())


def link_work(path: str) -> Work:
    """A link that leads to a unit of the actor goes with it, whoever made it."""
    work = Work(path)
    with contextlib.suppress(OSError):
        status = os.lstat(path)
        work.made.add(status.st_ino)
    return work


def find(work: Work, place_of: PlaceOf, packages: Packages) -> Find | None:
    """What is left of it; None if nothing is.

    Raises:
        Refused: it must stay; the text says why.
        OSError: it cannot be looked at.
    """
    place = _allowed(work, place_of)
    try:
        where = files.locate(work.path)
    except FileNotFoundError:
        return None
    try:
        found = _look(work, where, packages)
    except FileNotFoundError:
        found = None
    except BaseException:
        where.close()
        raise
    if found is None:
        where.close()
        return None
    found.place = place
    return found


def libraries(found: Iterable[bytes], packages: Packages) -> Iterator[Find]:
    """What these lines have loaded into every program, where that is a trojan's library."""
    for name in (one for line in found for one in _LIBRARY.findall(line)):
        path = os.fsdecode(name)
        if not doubts_about(path) or packages.owner(path):
            continue
        try:
            where = files.locate(path)
        except OSError:
            continue
        try:
            fd = open_to_read(where)
        except (OSError, Refused):
            where.close()
            continue
        library = Find(kind="file", path=path, place="preload", where=where, fd=fd)
        # A line can name whatever its author wants to be rid of.
        if os.pread(fd, len(_ELF), 0) == _ELF:
            yield library
        else:
            library.close()


def _add(work: Work, change: Change) -> None:
    work.lines.update(change.lines)
    chars = sum(map(len, change.lines))
    work.is_cut |= len(change.lines) >= _CUT_LINES or chars >= _CUT_CHARS
    if change.operation != "write" and change.inode:
        work.made.add(change.inode)


def _allowed(work: Work, place_of: PlaceOf) -> str:
    place = place_of(work.path)
    if place is None:
        raise Refused("it is in no watched place")
    if place not in _CLEANED:
        raise Refused(f"what becomes of this place ({place}) is for a person to judge")
    if work.protected and not work.lines and not work.made:
        raise Refused(f"who changed it is protected: {work.protected}")
    return place


def _look(work: Work, where: files.Place, packages: Packages) -> Find | None:
    status = where.status()
    is_made = status.st_ino in work.made
    if stat.S_ISLNK(status.st_mode):
        fd = os.open(where.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=where.directory)
        if is_made and os.path.samestat(os.fstat(fd), status):
            return Find(kind="link", path=work.path, place="", where=where, fd=fd)
        os.close(fd)
        return None
    fd = open_to_read(where)
    try:
        found = _in_file(work, where, fd, is_made=is_made)
        if found is not None and found.kind == "file" and (owner := packages.owner(work.path)):
            raise Refused(f"it belongs to the package {owner}")
    except BaseException:
        os.close(fd)
        raise
    if found is None:
        os.close(fd)
    return found


def _in_file(work: Work, where: files.Place, fd: int, *, is_made: bool) -> Find | None:
    content = os.pread(fd, MAX_BYTES + 1, 0)
    found = Find(kind="file", path=work.path, place="", where=where, fd=fd, content=content)
    is_large = len(content) > MAX_BYTES
    spans = () if is_large else spans_of(content, work.lines)
    begins = bool(spans) and spans[0][0] == 0
    is_all = is_large or b"\0" in content or (work.is_cut and begins)
    if is_made and (is_all or not without(content, spans).strip()):
        return found
    if is_large:
        raise Refused("it is too large for lines to be taken out")
    if not spans:
        return None
    found.kind, found.spans, found.wanted = "lines", spans, frozenset(work.lines)
    return found
