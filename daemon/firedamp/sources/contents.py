# SPDX-License-Identifier: Apache-2.0
"""Remembers the lines of watched files, so that a change can say which lines are new.

Rule 1. Only hashes are kept, and no more than `max_lines` of them in all: whose lines were
        dropped to make room says at its next change that it changed, and not how.
Rule 2. Files are opened through a descriptor that was looked at before: neither a FIFO nor a
        link put in the file's place can hold us up or lead us elsewhere.
Rule 3. Of a file beyond `MAX_FILE_BYTES` the end is read, because that is where lines are added.
"""

import os
import time
from array import array
from dataclasses import dataclass
from typing import Final

from firedamp.sources.filefacts import FileFacts

MAX_FILE_BYTES: Final = 256 * 1024
MAX_LINE_CHARS: Final = 1024
"""A longer line loses its middle: an SSH key's comment and what a long pipe ends in stay."""
MAX_ADDED_LINES: Final = 64
MAX_ADDED_CHARS: Final = 8192
GONE_MEMORY_S: Final = 5.0
LINE_MEMORY_S: Final = 60.0
"""How long a line that left a file is not new when it is back: who writes a file anew empties it
first, and is not the author of all that was in it."""
MAX_LINES_GONE: Final = 1 << 14
MAX_GONE: Final = 256


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at a file's contents showed, compared with the look before."""

    is_changed: bool
    added: tuple[str, ...] = ()


@dataclass(slots=True)
class _Memory:
    digest: int
    lines: "array[int] | None"


class Contents:
    """What each watched file held when it was last looked at."""

    def __init__(self, max_lines: int = 1 << 18) -> None:
        self._max_lines = max_lines
        self._kept_lines = 0
        self._files: dict[str, _Memory] = {}
        self._gone: dict[str, tuple[float, _Memory | None]] = {}
        self._left: dict[str, tuple[float, frozenset[int]]] = {}

    def look(self, path: str, fd: int, facts: FileFacts) -> Look:
        """Compare with the last look at `path`, and remember.

        All lines of a file that was never looked at are new. One that cannot be read has none.
        `fd` (O_PATH is enough) is open on a regular file, and `facts` were taken from it.
        """
        try:
            data = _read(fd, facts.size)
        except OSError:
            data = b"\0%d" % facts.changed_ns  # no text, and another one at each change
        # Of a large file only the end is read: a change before it shows in the time.
        rest = (facts.size, facts.modified_ns) if facts.size > MAX_FILE_BYTES else ()
        digest = hash((data, rest))
        known = self._files.get(path) or self._resurrected(path)
        if known is not None and known.digest == digest:
            return Look(is_changed=False)
        lines = [] if b"\0" in data else data.splitlines()
        hashes = [hash(line) for line in lines]
        before = known.lines if known is not None else array("q")
        self._remember(path, _Memory(digest, array("q", set(hashes))))
        if before is None:
            return Look(is_changed=True)
        old = set(before)
        left = self._lines_that_left(path, old.difference(hashes))
        old |= left
        new = (line for line, code in zip(lines, hashes, strict=True) if code not in old)
        return Look(is_changed=True, added=_readable(list(dict.fromkeys(new))))

    def vanished(self, path: str) -> None:
        """The path is gone; what it held is remembered for a moment more.

        Many editors save by moving the old file away, and what the new one keeps is not new.
        """
        memory = self._files.pop(path, None)
        if memory is None:
            return
        self._drop_lines(self._gone.pop(path, (0.0, None))[1])
        self._gone[path] = (time.monotonic() + GONE_MEMORY_S, memory)
        while len(self._gone) > MAX_GONE:
            self._drop_lines(self._gone.pop(next(iter(self._gone)))[1])

    def forget(self, path: str) -> None:
        """Whatever comes to be at the path is all new."""
        self.settle(path)
        self._drop_lines(self._files.pop(path, None))
        self._drop_lines(self._gone.pop(path, (0.0, None))[1])

    def settle(self, path: str) -> None:
        """What has left the file is gone for good: if it comes back, it is new."""
        self._left.pop(path, None)

    def _lines_that_left(self, path: str, lines: set[int]) -> frozenset[int]:
        """Those that left lately; these do now."""
        now = time.monotonic()
        until, before = self._left.pop(path, (0.0, frozenset()))
        if now >= until:
            before = frozenset()
        if lines or before:
            until = now + LINE_MEMORY_S if lines else until
            self._left[path] = (until, before | lines)
        while len(self._left) > MAX_GONE or self._lines_gone() > MAX_LINES_GONE:
            del self._left[next(iter(self._left))]
        return before

    def _lines_gone(self) -> int:
        return sum(len(lines) for _, lines in self._left.values())

    def _resurrected(self, path: str) -> _Memory | None:
        until, memory = self._gone.pop(path, (0.0, None))
        if memory is not None and time.monotonic() < until:
            self._files[path] = memory
            return memory
        self._drop_lines(memory)
        return None

    def _remember(self, path: str, memory: _Memory) -> None:
        self._drop_lines(self._files.pop(path, None))
        self._files[path] = memory
        self._kept_lines += len(memory.lines or ())
        if self._kept_lines <= self._max_lines:
            return
        for other in self._files.values():  # the one looked at longest ago comes first
            self._drop_lines(other)
            if self._kept_lines <= self._max_lines:
                break

    def _drop_lines(self, memory: _Memory | None) -> None:
        if memory is not None and memory.lines is not None:
            self._kept_lines -= len(memory.lines)
            memory.lines = None


def _read(fd: int, size: int) -> bytes:
    file = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        start = max(0, size - MAX_FILE_BYTES)
        data = os.pread(file, MAX_FILE_BYTES, start)
    finally:
        os.close(file)
    return data.partition(b"\n")[2] if start else data


def _readable(lines: list[bytes]) -> tuple[str, ...]:
    """The lines that say most within the bounds: blank ones never, comments if there is room."""
    telling = [line for line in lines if line.strip()]
    if len(telling) > MAX_ADDED_LINES:
        telling = [line for line in telling if not line.lstrip().startswith(b"#")]
    shown: list[str] = []
    room = MAX_ADDED_CHARS
    for line in telling[:MAX_ADDED_LINES]:
        text = _shortened(os.fsdecode(line))
        if len(text) > room:
            break
        room -= len(text)
        shown.append(text)
    return tuple(shown)


def _shortened(line: str) -> str:
    if len(line) <= MAX_LINE_CHARS:
        return line
    half = MAX_LINE_CHARS // 2
    return f"{line[:half]}…{line[-half + 1 :]}"
