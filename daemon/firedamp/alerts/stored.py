# SPDX-License-Identifier: Apache-2.0
"""Alerts that were told before, read back from the journal or from the JSON-lines file.

Documents are as `firedamp.alerts.ecs` made them. Anybody can write to the journal under our
name, so only entries count that journald says root wrote (or the account that runs us).
"""

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

from systemd import journal

from firedamp.alerts.ecs_parts import Document

Wanted = Callable[[Document], bool]

_POLL_S: Final = 0.2


class Store(Protocol):
    """Where alerts were written."""

    def last(self, count: int | None, since: datetime | None, wanted: Wanted) -> list[Document]:
        """The newest that are wanted, oldest first; None: without a limit."""

    def follow(self, wanted: Wanted) -> Iterator[Document]:
        """What is written from the last call of `last` on, for ever."""


class JournalStore:
    def __init__(self, reader: Any = None) -> None:
        self._reader = reader or journal.Reader()
        self._reader.data_threshold = 0
        for uid in {0, os.geteuid()}:
            self._reader.add_match(f"_UID={uid}")
        self._reader.add_match("SYSLOG_IDENTIFIER=firedamp")

    def last(self, count: int | None, since: datetime | None, wanted: Wanted) -> list[Document]:
        found: deque[Document] = deque()
        self._reader.seek_tail()
        entry = newest = self._reader.get_previous()
        while entry and (count is None or len(found) < count):
            if since and entry["__REALTIME_TIMESTAMP"].astimezone() < since:
                break
            document = _document(entry.get("FIREDAMP_ALERT"))
            if document and wanted(document):
                found.appendleft(document)
            entry = self._reader.get_previous()
        self._go_to(newest)
        return list(found)

    def _go_to(self, entry: Mapping[str, Any]) -> None:
        """Stand on an entry, so that the next one is what came after it."""
        if not entry:
            self._reader.seek_head()
            return
        self._reader.seek_cursor(entry["__CURSOR"])
        self._reader.get_next()

    def follow(self, wanted: Wanted) -> Iterator[Document]:
        while True:
            while entry := self._reader.get_next():
                document = _document(entry.get("FIREDAMP_ALERT"))
                if document and wanted(document):
                    yield document
            self._reader.wait(1.0)


class FileStore:
    """The file and the one that was set aside before it."""

    def __init__(self, path: Path, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._path = path
        self._sleep = sleep
        self._inode = 0
        self._offset = 0

    def last(self, count: int | None, since: datetime | None, wanted: Wanted) -> list[Document]:
        newest: deque[Document] = deque(maxlen=count)
        aside = self._path.with_name(f"{self._path.name}.1")
        for document in (*_documents(_lines(aside)), *_documents(self._new_lines())):
            if wanted(document) and (since is None or _is_after(document, since)):
                newest.append(document)
        return list(newest)

    def follow(self, wanted: Wanted) -> Iterator[Document]:
        while True:
            yield from filter(wanted, _documents(self._new_lines()))
            self._sleep(_POLL_S)

    def _new_lines(self) -> Iterator[bytes]:
        """Whole lines that were appended since the last call, or those of a new file."""
        try:
            stream = self._path.open("rb")
        except FileNotFoundError:
            return
        with stream:
            found = os.fstat(stream.fileno())
            if found.st_ino != self._inode or found.st_size < self._offset:
                self._inode, self._offset = found.st_ino, 0
            stream.seek(self._offset)
            for line in stream:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                yield line


def _lines(path: Path) -> Iterator[bytes]:
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        return
    with stream:
        yield from stream


def _documents(lines: Iterable[bytes]) -> Iterator[Document]:
    for line in lines:
        if document := _document(line):
            yield document


def _document(line: str | bytes | None) -> Document | None:
    """The document of a line; None for a line that broke off, or is none of ours."""
    if not line:
        return None
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _is_after(document: Document, since: datetime) -> bool:
    try:
        return datetime.fromisoformat(str(document.get("@timestamp"))) >= since
    except (ValueError, TypeError):
        return False
