# SPDX-License-Identifier: Apache-2.0
"""Notices file systems that are mounted and unmounted: what is watched may be covered by one."""

import os
import re
import select

_ESCAPED = re.compile(rb"\\([0-7]{3})")


class MountTable:
    """The mount points of our mount namespace, and what changed about them.

    It is polled and not waited for: the kernel tells a change once, and an epoll instance
    within another swallows that.
    """

    def __init__(self) -> None:
        self._fd = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLPRI)
        self._known = self._read()

    def changed(self) -> set[str]:
        """Mount points that were added, removed or covered since the last call."""
        if not self._poll.poll(0):
            return set()
        before, self._known = self._known, self._read()
        return {os.fsdecode(point) for _, point in before ^ self._known}

    def close(self) -> None:
        os.close(self._fd)

    def _read(self) -> frozenset[tuple[bytes, bytes]]:
        with open("/proc/self/mountinfo", "rb") as mounts:
            fields = [line.split(b" ", 5) for line in mounts]
        return frozenset((field[0], _unescaped(field[4])) for field in fields)


def _unescaped(path: bytes) -> bytes:
    if b"\\" not in path:
        return path
    return _ESCAPED.sub(lambda octal: bytes([int(octal[1], 8)]), path)
