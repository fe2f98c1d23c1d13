# SPDX-License-Identifier: Apache-2.0
"""Reads what `recording` wrote, on any machine, without any right but to read the file.

Rule 1. Anybody may have written the file: what is read is checked, and bounded in memory.
Rule 2. What cannot be read is skipped and counted; what broke off is read up to there.
"""

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from firedamp.context.snapshot import Known
from firedamp.errors import DecodeError, SourceError
from firedamp.events.model import Event
from firedamp.events.serial import KIND, from_plain
from firedamp.sources.recording import HEADER, PROCESS, VERSION, Header

MAX_LINE: Final = 4 << 20
_CHUNK: Final = 64 << 10
_UNPACKED: Final = 1 << 20
_MAGIC: Final = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Remembered:
    """Something that was known before the recording began; not an event to be judged."""

    what: Known


Item = Header | Remembered | Event


class Recorded:
    """A recording, from its beginning each time that it is iterated over."""

    def __init__(self, path: Path) -> None:
        """`path` is a file, or a directory of a recorder.

        Raises:
            SourceError: there is none.
        """
        self.malformed = 0
        """Lines that were skipped, or files that hold no recording at all."""
        self.broken_off = 0
        """Files that do not end where a file ends."""
        self._header: Header | None = None
        if path.is_dir():
            self._files = sorted(path.glob("*.jsonl.gz"))
        else:
            self._files = [path]
        if not self._files:
            raise SourceError(f"{path}: there is no recording in this directory")

    def __iter__(self) -> Iterator[Item]:
        """A header, what was known, what happened; and so on for each recording.

        Where a file goes on where the one before ended, only what happened is given.

        Raises:
            SourceError: a file cannot be opened, or none holds a recording.
        """
        self.malformed = self.broken_off = 0
        self._header = None
        for file in self._files:
            yield from self._items(file)
        if self._header is None:
            raise SourceError(f"{self._files[0]}: not a recording")

    def _items(self, file: Path) -> Iterator[Item]:
        lines = self._lines(file)
        header = self._header_of(next(lines, b""))
        if header is None:
            return
        goes_on = _goes_on(self._header, header)
        self._header = header
        if not goes_on:
            yield header
        for line in lines:
            try:
                item = _item(line)
            except (DecodeError, ValueError, RecursionError):
                self.malformed += 1
                continue
            if not (goes_on and type(item) is Remembered):
                yield item

    def _header_of(self, line: bytes) -> Header | None:
        if not line:
            return None  # a file that broke off at once
        try:
            plain = json.loads(line)
            version = plain.pop("recording")
            if version != VERSION:
                raise SourceError(f"{self._files[0]}: a recording of another version: {version}")
            return HEADER.from_plain(plain)
        except (DecodeError, ValueError, RecursionError, AttributeError, KeyError, TypeError):
            self.malformed += 1
            return None

    def _lines(self, file: Path) -> Iterator[bytes]:
        """Whole lines; one that is too long is skipped, as is the last if it broke off."""
        rest = b""
        skips = False
        for chunk in self._chunks(file):
            *lines, rest = (rest + chunk).split(b"\n")
            if lines and skips:
                del lines[0]
                skips = False
            yield from lines
            if len(rest) > MAX_LINE or skips:
                self.malformed += not skips
                rest, skips = b"", True
        if rest or skips:
            self.broken_off += not self.broken_off

    def _chunks(self, file: Path) -> Iterator[bytes]:
        try:
            with file.open("rb") as stream:
                is_gzip = stream.peek(2)[:2] == _MAGIC
                read = iter(lambda: stream.read(_CHUNK), b"")
                yield from self._unpacked(read) if is_gzip else read
        except OSError as error:
            raise SourceError(f"{file}: {error.strerror}") from error

    def _unpacked(self, packed: Iterator[bytes]) -> Iterator[bytes]:
        unpack = zlib.decompressobj(16 + zlib.MAX_WBITS)
        try:
            for read in packed:
                data = read
                while data:
                    if unpack.eof:  # another gzip file, appended to the one before
                        unpack = zlib.decompressobj(16 + zlib.MAX_WBITS)
                    yield unpack.decompress(data, _UNPACKED)
                    data = unpack.unused_data if unpack.eof else unpack.unconsumed_tail
        except zlib.error:
            self.broken_off += 1
            return
        self.broken_off += not unpack.eof


def _item(line: bytes) -> Item:
    plain = json.loads(line)
    if not isinstance(plain, dict):
        raise DecodeError("not a mapping")
    if "known" not in plain:
        return from_plain(plain)
    what = plain["known"]
    if isinstance(what, dict) and what.get(KIND) == "Process":
        return Remembered(PROCESS.from_plain(what))
    return Remembered(from_plain(what))


def _goes_on(before: Header | None, now: Header) -> bool:
    return before is not None and (before.run, before.sequence + 1) == (now.run, now.sequence)
