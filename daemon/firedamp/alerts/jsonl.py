# SPDX-License-Identifier: Apache-2.0
"""One JSON object a line, into a file that cannot grow without end, or to standard output."""

import os
import stat
from pathlib import Path
from typing import Final

from firedamp.alerts.entries import Entry

_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class JsonLinesFile:
    """Alerts in a file that only root can read, since they hold command lines.

    At its greatest size the file is set aside as FILE.1, in place of the one before. Someone
    else may move or delete the file at any time: the next line starts a new one.
    """

    name: Final = "file"

    def __init__(self, path: Path, *, max_bytes: int) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._descriptor = -1
        self._is_torn = False

    def write(self, entry: Entry) -> None:
        """Append the entry's line.

        Raises:
            OSError: the disk is full, or the place is not writable.
        """
        line = f"{entry.text}\n".encode()
        size = self._open()
        if size and size + len(line) > self._max_bytes:
            os.replace(self.path, self._set_aside)
            self._open()
        # After a write that broke off, the rest of a line must not spoil the next one.
        line = b"\n" + line if self._is_torn else line
        self._is_torn = True
        while line:
            line = line[os.write(self._descriptor, line) :]
        self._is_torn = False

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @property
    def _set_aside(self) -> Path:
        return self.path.with_name(f"{self.path.name}.1")

    def _open(self) -> int:
        """Have the file that now bears the name open; its size."""
        if self._descriptor >= 0:
            own = os.fstat(self._descriptor)
            try:
                named = os.stat(self.path, follow_symlinks=False)
            except FileNotFoundError:
                named = None
            if named and (named.st_dev, named.st_ino) == (own.st_dev, own.st_ino):
                return own.st_size
            self.close()
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.path, _FLAGS | os.O_NONBLOCK, 0o600)
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            os.close(descriptor)
            raise OSError(f"{self.path} is not a regular file")
        self._descriptor = descriptor
        return found.st_size


class JsonLinesStream:
    """Alerts as lines on a descriptor, standard output as a rule."""

    name: Final = "stdout"

    def __init__(self, descriptor: int = 1) -> None:
        self._descriptor = descriptor

    def write(self, entry: Entry) -> None:
        line = f"{entry.text}\n".encode()
        while line:
            line = line[os.write(self._descriptor, line) :]

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """The descriptor belongs to the process."""
