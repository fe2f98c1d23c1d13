# SPDX-License-Identifier: Apache-2.0
"""A control group of our own: who is put in there, and what they start, can be told from others.

Rule: only processes that the kernel lists in this group are ever signalled, and only through a
pidfd that was opened before the group was looked at again.
"""

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

from firedamp.cgroups import cgroup2_mount

_CLOSE_S: Final = 10.0


class Cell:
    """A group directly below the mount point of cgroup v2; `close` ends all that is in it."""

    def __init__(self, name: str) -> None:
        """Make the group.

        Raises:
            OSError: there is no cgroup v2, or it cannot be written to; the text says which.
        """
        self.path = path_of(name)
        self.scope = f"/{name}"
        """Its path below the mount point, as `scope.cgroups` wants it."""
        try:
            self.path.mkdir()
        except OSError as error:
            raise OSError(f"{self.path} cannot be made: {error.strerror}") from error

    def command(self, *argv: str) -> list[str]:
        """The command that moves itself in here, and only then becomes this one."""
        enter = f'echo $$ > "{self.path}/cgroup.procs" && exec "$@"'
        return ["/bin/sh", "-c", enter, "sh", *argv]

    def pids(self) -> frozenset[int]:
        """All that live in here, groups below included."""
        return _pids(self.path)

    def pids_of(self, image: Path) -> frozenset[int]:
        """Those that run this file."""
        found = set()
        for pid in self.pids():
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/exe") == str(image):
                    found.add(pid)
        return frozenset(found)

    def close(self) -> None:
        """Kill all that is in here, and remove the group.

        Raises:
            OSError: somebody did not die, or the group cannot be removed.
        """
        remove(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def path_of(name: str) -> Path:
    """Where a group of this name is, or would be.

    Raises:
        OSError: there is no cgroup v2.
    """
    mount = cgroup2_mount()
    if not mount:
        raise OSError("cgroup v2 is not mounted")
    return Path(mount) / name


def remove(path: Path) -> None:
    """Kill all that is in a group, and remove it; nothing happens where there is none.

    Raises:
        OSError: somebody did not die, or the group cannot be removed.
    """
    until = time.monotonic() + _CLOSE_S
    while path.exists():
        _kill_all(path)
        try:
            for group in _groups(path):
                group.rmdir()
        except OSError as error:
            if time.monotonic() > until:
                raise OSError(f"{path} cannot be removed: {error.strerror}") from error
            time.sleep(0.02)


def _pids(path: Path) -> frozenset[int]:
    found: set[int] = set()
    for group in _groups(path):
        with contextlib.suppress(OSError):
            found.update(map(int, (group / "cgroup.procs").read_text().split()))
    return frozenset(found)


def _groups(path: Path) -> Iterator[Path]:
    """Innermost first."""
    for directory, _, _ in os.walk(path, topdown=False):
        yield Path(directory)


def _kill_all(path: Path) -> None:
    for pid in _pids(path):
        with contextlib.suppress(OSError):
            pidfd = os.pidfd_open(pid)
            try:
                if pid in _pids(path):
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            finally:
                os.close(pidfd)


class Deaths:
    """Notes when each of some processes ended, on the boot-time clock, as it happens."""

    def __init__(self, pids: frozenset[int]) -> None:
        """Processes that are gone already are left out."""
        self.at_ns: dict[int, int] = {}
        self.watched: set[int] = set()
        self._pids: dict[int, int] = {}
        self._poll = select.poll()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                pidfd = os.pidfd_open(pid)
                self._pids[pidfd] = pid
                self.watched.add(pid)
                self._poll.register(pidfd, select.POLLIN)
        self._stop_read, self._stop_write = os.pipe()
        self._poll.register(self._stop_read, select.POLLIN)
        self._thread = threading.Thread(target=self._watch, name="deaths", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> frozenset[int]:
        return frozenset(self.watched - set(self.at_ns))

    def wait(self, pids: frozenset[int], timeout_s: float) -> bool:
        """Wait until all of these have ended."""
        until = time.monotonic() + timeout_s
        while pids & self.alive and time.monotonic() < until:
            time.sleep(0.01)
        return not pids & self.alive

    def close(self) -> None:
        os.close(self._stop_write)
        self._thread.join()
        for fd in (self._stop_read, *self._pids):
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _watch(self) -> None:
        while True:
            for fd, _ in self._poll.poll():
                if fd == self._stop_read:
                    return
                self.at_ns[self._pids[fd]] = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
                self._poll.unregister(fd)
