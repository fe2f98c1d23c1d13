# SPDX-License-Identifier: Apache-2.0
"""What happened lately, by key: bounded in time, in keys, and in what each key holds.

Time is that of the events. They come from several buffers and so not quite in order; an entry
that is older than the newest by more than the window is no longer of interest and is not kept.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class SlidingWindow(Generic[Key, Value]):
    """Values of the last `length_ns` for each key, oldest first.

    When there are more than `keys` keys, the one that got a value longest ago is forgotten; when
    a key has more than `values` values, its oldest are. Both are counted in `evicted`.
    """

    def __init__(self, *, length_ns: int, keys: int, values: int) -> None:
        self.evicted = 0
        self._length_ns = length_ns
        self._keys = keys
        self._values = values
        self._entries: OrderedDict[Key, list[tuple[int, Value]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, key: Key, at_ns: int, value: Value) -> tuple[Value, ...]:
        """Take a value; give all that the key has in the window that ends with its newest."""
        entries = self._entries.setdefault(key, [])
        self._entries.move_to_end(key)
        position = len(entries)
        while position and entries[position - 1][0] > at_ns:
            position -= 1
        entries.insert(position, (at_ns, value))
        self._expire(entries, entries[-1][0])
        if len(entries) > self._values:
            del entries[0]
            self.evicted += 1
        if len(self._entries) > self._keys:
            self._entries.popitem(last=False)
            self.evicted += 1
        return tuple(kept for _, kept in entries)

    def values(self, key: Key, now_ns: int) -> tuple[Value, ...]:
        """What the key has in the window that ends at `now_ns`."""
        entries = self._entries.get(key)
        if entries is None:
            return ()
        self._expire(entries, now_ns)
        if not entries:
            del self._entries[key]
        return tuple(kept for _, kept in entries)

    def forget(self, key: Key) -> None:
        """Drop all that the key has; a key without any is fine."""
        self._entries.pop(key, None)

    def _expire(self, entries: list[tuple[int, Value]], now_ns: int) -> None:
        oldest = now_ns - self._length_ns
        expired = 0
        while expired < len(entries) and entries[expired][0] < oldest:
            expired += 1
        del entries[:expired]
