# SPDX-License-Identifier: Apache-2.0
"""Notices file systems that are mounted and unmounted: what is watched may be covered by one."""

import os
import re
import select

_ESCAPED = re.compile(rb"\\([0-7]{3})")


class MountTable:
    """The mount points of our mount namespace, and what changed about them.

    `fileno()` is ready for select.EPOLLPRI when the table has changed. The kernel says so
    once; an epoll instance inside another can swallow it, so that asking `changed()` for no
    reason now and then is right.
    """

    def __init__(self) -> None:
        self._fd = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self._known = self._read()

    def fileno(self) -> int:
        return self._fd

    def changed(self) -> set[str]:
        """Mount points that were added, removed or covered since the last call."""
        before, self._known = self._known, self._read()
        return {os.fsdecode(point) for _, point in before ^ self._known}

    def close(self) -> None:
        os.close(self._fd)

    def _read(self) -> frozenset[tuple[bytes, bytes]]:
        with open("/proc/self/mountinfo", "rb") as mounts:
            fields = [line.split(b" ", 5) for line in mounts]
        return frozenset((field[0], _unescaped(field[4])) for field in fields)


READY = select.EPOLLPRI | select.EPOLLERR


def _unescaped(path: bytes) -> bytes:
    if b"\\" not in path:
        return path
    return _ESCAPED.sub(lambda octal: bytes([int(octal[1], 8)]), path)
