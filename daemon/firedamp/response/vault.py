# SPDX-License-Identifier: Apache-2.0
"""Where quarantined files lie: each once, under the SHA-256 of its content.

Nothing in here can be executed (mode 0600 in a directory of mode 0700), and nothing gets its
final name before it is complete, on disk, and proved to be what was read. The vault is bounded:
what does not fit is not taken, and the file stays where it is.
"""

import contextlib
import os

from firedamp.errors import ActionError
from firedamp.response.files import copy

_PART = ".part"


class Vault:
    """A directory of our own, made when it is first needed."""

    def __init__(self, directory: str, *, max_bytes: int) -> None:
        self._directory = directory
        self._max_bytes = max_bytes

    def keep(self, source: int) -> str:
        """Keep a copy of an open file; returns its name in here, which is its SHA-256.

        Raises:
            ActionError: it could not be kept, and nothing of it is left here.
        """
        try:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            self._check_room(os.fstat(source).st_size)
            return self._copy_in(source)
        except OSError as error:
            raise ActionError(f"the vault cannot take it: {error.strerror}") from error

    def open(self, name: str) -> int:
        """Open what is kept under a name, after proving that it is still what it was.

        Raises:
            ActionError: it is not there, or was changed.
        """
        try:
            fd = os.open(self._path(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise ActionError(f"{name} is not in the vault: {error.strerror}") from error
        if _sha256(fd) != name:
            os.close(fd)
            raise ActionError(f"{name} in the vault was changed")
        return fd

    def tidy(self) -> None:
        """Remove what a crash left half-written."""
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self._directory):
                if name.endswith(_PART):
                    os.unlink(self._path(name))

    def used_bytes(self) -> int:
        with os.scandir(self._directory) as entries:
            return sum(entry.stat(follow_symlinks=False).st_size for entry in entries)

    def _check_room(self, size: int) -> None:
        if self.used_bytes() + size > self._max_bytes:
            raise ActionError(f"the vault is full: it may hold {self._max_bytes >> 20} MiB")

    def _copy_in(self, source: int) -> str:
        part = self._path(os.urandom(8).hex() + _PART)
        fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            copy(source, fd)
            os.fsync(fd)
            name = _sha256(source)
            if _sha256(fd) != name:
                raise ActionError("it changed while it was copied")
            os.rename(part, self._path(name))
        except BaseException:
            os.unlink(part)
            raise
        finally:
            os.close(fd)
        self._sync()
        return name

    def _sync(self) -> None:
        fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def _path(self, name: str) -> str:
        return f"{self._directory}/{name}"


def _sha256(fd: int) -> str:
    # OpenSSL is fast and costs 3.5 MiB: only a daemon that has something to keep pays for it.
    import hashlib  # noqa: PLC0415

    digest = hashlib.sha256()
    offset = 0
    while chunk := os.pread(fd, 1 << 20, offset):
        offset += len(chunk)
        digest.update(chunk)
    return digest.hexdigest()
