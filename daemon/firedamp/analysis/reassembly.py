# SPDX-License-Identifier: Apache-2.0
"""Putting the segments of one direction of a connection back into a stream.

Rules:

1. What was seen is not seen again: retransmissions, whole or overlapping, are dropped.
2. What comes ahead of its turn waits, in a room of a few segments; when that is full, what is
   missing is given up.
3. Bytes that are missing leave a gap, which the reader is told of: it must not join what stands
   before it with what stands behind.
"""

from collections.abc import Iterator
from enum import Enum
from typing import Final

WAITING = 4
"""Segments that may wait for one before them; the network seldom swaps more."""
WAITING_BYTES = 8_192
NEAR = 1 << 20
"""Farther from its place than this, a segment belongs to another stream: the socket was connected
anew."""
_HALF = 1 << 31
_ALL = (1 << 32) - 1


class _Gap(Enum):
    GAP = "gap"


GAP: Final = _Gap.GAP
"""Stands in a stream for bytes that were not seen."""


class Reassembly:
    """One direction of one connection, from the first segment that was seen."""

    __slots__ = ("_next", "_waiting")

    def __init__(self) -> None:
        self._next: int | None = None
        self._waiting: list[tuple[int, int, bytes]] = []

    @property
    def held(self) -> int:
        """Bytes that wait."""
        return sum(len(data) for _, _, data in self._waiting)

    def feed(
        self, *, sequence: int, length: int, data: bytes, in_order: bool
    ) -> Iterator[bytes | _Gap]:
        """Take a segment of `length` bytes that begins with `data`; give what follows from it.

        `in_order` says that segments cannot overtake one another on their way here, so that
        what is missing will not come.
        """
        if self._next is None:
            self._next = sequence
        if abs(_ahead(sequence, self._next)) > NEAR:
            yield GAP
            self._next = sequence
            self._waiting.clear()
        if _ahead(sequence, self._next) > 0:
            self._waiting.append((sequence, length, data))
            if not in_order and len(self._waiting) < WAITING and self.held < WAITING_BYTES:
                return
            yield GAP
            self._next = min(self._waiting, key=lambda each: _ahead(each[0], sequence))[0]
        else:
            yield from self._take(sequence, length, data)
        yield from self._take_waiting()

    def _take_waiting(self) -> Iterator[bytes | _Gap]:
        while self._next is not None:
            expected = self._next
            ready = next((e for e in self._waiting if _ahead(e[0], expected) <= 0), None)
            if ready is None:
                return
            self._waiting.remove(ready)
            yield from self._take(*ready)

    def _take(self, sequence: int, length: int, data: bytes) -> Iterator[bytes | _Gap]:
        assert self._next is not None  # noqa: S101 - feed() set it
        known = -_ahead(sequence, self._next)
        if known >= length:
            return
        self._next = (sequence + length) & _ALL
        if data[known:]:
            yield data[known:]
        if len(data) < length:
            yield GAP


def _ahead(sequence: int, of: int) -> int:
    """How far one sequence number is ahead of another; negative where it is behind."""
    distance = (sequence - of) & _ALL
    return distance - (1 << 32) if distance >= _HALF else distance
