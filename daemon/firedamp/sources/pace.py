# SPDX-License-Identifier: Apache-2.0
"""Waits on several descriptors as one, and lets a busy one rest so that its news can merge.

The kernel merges what it reports about one object while nobody reads. Whoever writes to a
watched file in a loop would else wake us for each write; with rests, some 40 times a second.
"""

import ctypes
import os
import select
import struct
import time
from typing import Final

MAX_READS: Final = 20
"""In one window, before a rest."""
WINDOW_S: Final = 1.0
REST_S: Final = 0.05

_TFD_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC
_libc = ctypes.CDLL(None, use_errno=True)


class Pace:
    """An epoll instance over descriptors that are read until they have no more."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._timer: int = _libc.timerfd_create(time.CLOCK_MONOTONIC, _TFD_FLAGS)
        if self._timer < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._epoll.register(self._timer, select.EPOLLIN)
        self._descriptors: list[int] = []
        self._window_ends = 0.0
        self._reads = 0
        self.is_resting = False

    def fileno(self) -> int:
        return self._epoll.fileno()

    def add(self, fd: int) -> None:
        self._epoll.register(fd, select.EPOLLIN)
        self._descriptors.append(fd)

    def has_read(self) -> None:
        """All news was read. A rest that only delays what has queued up would be none."""
        now = time.monotonic()
        if now >= self._window_ends:
            self._window_ends, self._reads = now + WINDOW_S, 0
        self._reads += 1
        if self._reads > MAX_READS and not self.is_resting:
            self._rest()

    def has_news(self) -> bool:
        """One of the descriptors can be read, and none of them rests. About 1 µs."""
        ready = self._epoll.poll(0)
        if self.is_resting and ready:  # which can only be the timer
            os.read(self._timer, 8)
            self.is_resting = False
            for fd in self._descriptors:
                self._epoll.modify(fd, select.EPOLLIN)
            ready = self._epoll.poll(0)
        return bool(ready)

    def close(self) -> None:
        os.close(self._timer)
        self._epoll.close()

    def _rest(self) -> None:
        once = struct.pack("@llll", 0, 0, 0, int(REST_S * 1e9))
        if _libc.timerfd_settime(self._timer, 0, once, None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")
        self.is_resting = True
        for fd in self._descriptors:
            self._epoll.modify(fd, 0)
