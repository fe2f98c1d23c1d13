# SPDX-License-Identifier: Apache-2.0
"""Reads a BPF ring buffer through its mapping, without a library and without copies.

Layout: kernel/bpf/ringbuf.c. The map's pages are the consumer position (writable), the producer
position, and the data twice over, so that a record that wraps is still contiguous. A record has
an 8-byte header: length with the busy and discard bits, and a page offset.
"""

import mmap
import struct
from collections.abc import Callable

_BUSY, _DISCARDED, _LENGTH = 1 << 31, 1 << 30, (1 << 30) - 1
_HEADER = struct.Struct("<I")
_POSITION = struct.Struct("<Q")


class Ring:
    """One ring buffer map. Not for two readers at once."""

    def __init__(self, fd: int, pages: int) -> None:
        page = mmap.PAGESIZE
        size = pages * page
        self.fd = fd
        self._mask = size - 1
        self._page = page
        self._consumer = mmap.mmap(fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._producer = mmap.mmap(
            fd, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page
        )
        self._view = memoryview(self._producer)
        (self._position,) = _POSITION.unpack_from(self._consumer)

    def read(self, take: Callable[[memoryview], None], limit: int) -> bool:
        """Hand up to `limit` records to `take`; True if more are waiting.

        The view given to `take` is valid only during the call.
        """
        view, mask, page, position = self._view, self._mask, self._page, self._position
        (written,) = _POSITION.unpack_from(view)
        while position < written and limit:
            at = page + (position & mask)
            (header,) = _HEADER.unpack_from(view, at)
            if header & _BUSY:  # reserved, not yet submitted
                break
            length = header & _LENGTH
            if not header & _DISCARDED:
                take(view[at + 8 : at + 8 + length])
                limit -= 1
            position += (length + 15) & ~7
        if position != self._position:
            self._position = position
            _POSITION.pack_into(self._consumer, 0, position)
        return position < written and limit == 0

    def close(self) -> None:
        """Unmap; the descriptor is the caller's."""
        self._view.release()
        self._producer.close()
        self._consumer.close()
