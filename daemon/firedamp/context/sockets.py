# SPDX-License-Identifier: Apache-2.0
"""Which process asked for which connection.

No source tells when a socket is closed, so that what is remembered is bounded twice: a process
that opens many pushes out its own oldest, lest a busy proxy push out everyone else's; and when
all are full, the connection that was asked for or looked at longest ago goes. The kernel names
sockets by cookies that it does not use again while the host is up.
"""

from collections import OrderedDict
from typing import NamedTuple

from firedamp.events.model import ConnectionOpened, ProcessKey, Transport

LIMIT = 16_384
"""Of all processes: some 8 MiB, at half a KiB each."""
LIMIT_PER_PROCESS = 64
"""Enough for the servers that one process talks to; what it opens beyond is more of the same."""


class Socket(NamedTuple):
    """A connection as it was last asked for on one socket."""

    process: ProcessKey
    address: str
    port: int
    transport: Transport
    opened_ns: int


class Sockets:
    """Connections by cookie and by process, the newest of each."""

    def __init__(self, limit: int = LIMIT, limit_per_process: int = LIMIT_PER_PROCESS) -> None:
        self.evicted = 0
        self._limit = limit
        self._limit_per_process = limit_per_process
        # Events are kept as they came, for this runs at every connect: a Socket is only made
        # when someone asks.
        self._opened: OrderedDict[int, ConnectionOpened] = OrderedDict()
        self._cookies: dict[ProcessKey, tuple[int, ...]] = {}

    def __len__(self) -> int:
        return len(self._opened)

    def opened(self, event: ConnectionOpened) -> None:
        """Remember who asked; of two on one socket, the later. Cookie 0 names no socket."""
        cookie = event.cookie
        if not cookie:
            return
        before = self._opened.get(cookie)
        if before is not None:
            if before.process == event.process:
                self._opened[cookie] = event
                self._opened.move_to_end(cookie)
                return
            self._forget(cookie)
        own = self._cookies.get(event.process, ())
        if len(own) >= self._limit_per_process:
            del self._opened[own[0]]
            own = own[1:]
            self.evicted += 1
        self._opened[cookie] = event
        self._cookies[event.process] = (*own, cookie)
        if len(self._opened) > self._limit:
            self._forget(next(iter(self._opened)))
            self.evicted += 1

    def get(self, cookie: int) -> Socket | None:
        """The connection on this socket, which thereby stays remembered for longer."""
        event = self._opened.get(cookie)
        if event is None:
            return None
        self._opened.move_to_end(cookie)
        return _socket(event)

    def of_process(self, key: ProcessKey) -> tuple[Socket, ...]:
        """What this process asked for, in the order of asking."""
        return tuple(_socket(self._opened[cookie]) for cookie in self._cookies.get(key, ()))

    def remembered(self) -> tuple[ConnectionOpened, ...]:
        """All, in an order in which they can be told again."""
        return tuple(self._opened.values())

    def _forget(self, cookie: int) -> None:
        process = self._opened.pop(cookie).process
        own = self._cookies[process]
        # As a rule the oldest goes, and then this costs no search.
        at = own.index(cookie)
        left = own[:at] + own[at + 1 :]
        if left:
            self._cookies[process] = left
        else:
            del self._cookies[process]


def _socket(event: ConnectionOpened) -> Socket:
    return Socket(event.process, event.address, event.port, event.transport, event.at_ns)
