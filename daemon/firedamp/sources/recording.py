# SPDX-License-Identifier: Apache-2.0
"""Writes the stream of events to compressed files of bounded size.

A recording is one file, or a directory of files that make room for one another:

    {"recording": 1, "run": …, "sequence": 0, "boot_id": …, …}     a header
    {"known": {…}}                                                 what was known before
    {"event": "ProcessExecuted", …}                                what happened

gzip, one JSON object a line, so that `zcat FILE | jq` reads it. Each file begins with all that
its replay needs, so that the oldest can be dropped at any time. What was written is on its way
to the disk within a second, and a file that breaks off can be read up to there.

Only root can read the files; `masks` takes secrets out before.
"""

import json
import os
import re
import time
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from firedamp.context.host import HostContext
from firedamp.context.process import Process
from firedamp.context.snapshot import Known, known
from firedamp.events.model import Event
from firedamp.events.serial import Codec, to_plain
from firedamp.sources.masks import Masks

VERSION: Final = 1
SEGMENTS: Final = 8
"""Into so many files a directory's room is divided: one of them is lost to make room."""
MIN_SEGMENT: Final = 64 << 10
NAME: Final = re.compile(r"firedamp-\d{8}T\d{6}-[0-9a-f]{6}-\d{6}\.jsonl\.gz")
PROCESS: Final = Codec(Process, without=("children",))
_BUFFER: Final = 64 << 10
_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW

# Without a look for cycles, which these cannot have.
encode: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a replay must know of the host and of the daemon that watched it."""

    version: str
    """Of firedamp."""
    run: str
    """Names the recording; its files have it in common."""
    sequence: int
    """Which of its files this is, from 0 on."""
    boot_id: str
    host_name: str
    host_id: str
    clock_offset_ns: int
    """Wall-clock time minus boot-time."""
    cpu_window_s: int
    cpu_cores: float


HEADER: Final = Codec(Header)


class Recorder:
    """One recording that is being written."""

    def __init__(self, target: Path, header: Header, masks: Masks, *, max_bytes: int) -> None:
        """Begin: with a new file of this name, or with the first one in this directory.

        Raises:
            OSError: there is such a file already, or it cannot be made.
        """
        self.target = target
        self.events = 0
        self._header = header
        self._masks = masks
        self._rotates = target.is_dir()
        self._max_bytes = max_bytes
        self._limit = max(MIN_SEGMENT, max_bytes // SEGMENTS) if self._rotates else max_bytes
        self._known_size = 0
        """Of the newest file, what was written before any event."""
        self._file = _File(self._next_path())
        self._is_new = True
        self._bytes_before = 0

    @property
    def size(self) -> int:
        """Bytes written so far, what made room since included."""
        return self._bytes_before + self._file.size

    @property
    def is_full(self) -> bool:
        """A single file has reached its size; a directory makes room."""
        return not self._rotates and self._file.size >= self._limit

    def write(self, events: Iterable[Event], host: HostContext) -> None:
        """Add events that `host` has not seen yet.

        Raises:
            OSError: the disk is full, or gone.
        """
        if self._rotates and self._file.size >= max(self._limit, 2 * self._known_size):
            self._rotate()
        if self._is_new:
            self._is_new = False
            lines = [encode({"recording": VERSION, **HEADER.to_plain(self._header)})]
            lines += [encode({"known": self._plain(one)}) for one in known(host)]
            self._file.write("\n".join([*lines, ""]).encode("ascii"))
            self._known_size = self._file.size
        lines = [encode(to_plain(self._masks.event(event))) for event in events]
        self.events += len(lines)
        lines.append("")
        self._file.write("\n".join(lines).encode("ascii"))

    def flush(self) -> None:
        """Hand over to the kernel what was compressed so far.

        Raises:
            OSError: the disk is full, or gone.
        """
        self._file.flush()

    def close(self) -> None:
        """End the file.

        Raises:
            OSError: the disk is full, or gone; it is closed all the same.
        """
        self._file.close()

    def _plain(self, one: Known) -> dict[str, object]:
        if isinstance(one, Process):
            return PROCESS.to_plain(replace(one, argv=self._masks.arguments(one.argv)))
        return to_plain(self._masks.event(one))

    def _rotate(self) -> None:
        self._bytes_before += self._file.size
        self._file.close()
        self._header = replace(self._header, sequence=self._header.sequence + 1)
        self._file = _File(self._next_path())
        self._is_new = True

    def _next_path(self) -> Path:
        if not self._rotates:
            return self.target
        make_room(self.target, self._max_bytes - max(self._limit, 2 * self._known_size))
        # When the recording began, so that names are in the order of time.
        return self.target / f"firedamp-{self._header.run[:22]}-{self._header.sequence:06}.jsonl.gz"


def new_run() -> str:
    """A name for a recording: now, and six digits against another one of the same second."""
    now = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    return f"{now}-{os.urandom(3).hex()}"


def make_room(directory: Path, max_bytes: int) -> None:
    """Delete the oldest recordings of a directory until the rest is small enough.

    Raises:
        OSError: it cannot be read, or a file cannot be deleted.
    """
    entries = (one for one in os.scandir(directory) if NAME.fullmatch(one.name))
    found = sorted(entries, key=lambda one: one.name)
    sizes = [one.stat(follow_symlinks=False).st_size for one in found]
    total = sum(sizes)
    for one, size in zip(found, sizes, strict=True):
        if total <= max_bytes:
            return
        os.unlink(one.path)
        total -= size


class _File:
    """A gzip file that is written to and can break off at any time."""

    def __init__(self, path: Path) -> None:
        self.size = 0
        self._buffer = bytearray()
        self._is_dirty = False
        self._compress = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
        self._descriptor = os.open(path, _FLAGS, 0o600)

    def write(self, text: bytes) -> None:
        self._add(self._compress.compress(text))
        self._is_dirty = True
        if len(self._buffer) >= _BUFFER:
            self._drain()

    def flush(self) -> None:
        if self._is_dirty:
            self._is_dirty = False
            self._add(self._compress.flush(zlib.Z_SYNC_FLUSH))
            self._drain()

    def close(self) -> None:
        if self._descriptor < 0:
            return
        try:
            self._add(self._compress.flush(zlib.Z_FINISH))
            self._drain()
        finally:
            os.close(self._descriptor)
            self._descriptor = -1

    def _add(self, data: bytes) -> None:
        self._buffer += data
        self.size += len(data)

    def _drain(self) -> None:
        while self._buffer:
            del self._buffer[: os.write(self._descriptor, self._buffer)]
