# SPDX-License-Identifier: Apache-2.0
"""Mining protocols on the wire: Stratum in its dialects, and `getblocktemplate` over HTTP.

Reads the text of both directions of connections that begin like JSON or an HTTP request, and
tells mining from other JSON (`mining_dialects`). Who connected first does not matter: the first
words may have been said before the daemon started.

Blind spots: TLS; Stratum v2, which is encrypted; WebSockets; what comes after the segments that
the kernel side looks at; a private protocol between a miner and its proxy.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import ClassVar

from firedamp.analysis.json_stream import JsonStream, Message, TextLine
from firedamp.analysis.mining_dialects import MAX_TEXT, Conversation, Spoken
from firedamp.analysis.reassembly import GAP, Reassembly
from firedamp.context.process import Observed
from firedamp.events.model import Direction, Event, MiningProtocolSpoken, PayloadSeen

CONNECTIONS = 1_024
"""Followed at a time, at some 1.5 KiB each; the one heard of longest ago goes."""
HELD_BYTES = 2 * 1024 * 1024
"""Of unfinished lines, over all connections: what none of them needs for more than a moment."""
_BATCH = 16
"""Messages that are looked at in one JSON-RPC batch."""


class _Connection:
    __slots__ = ("conversation", "held", "streams")

    def __init__(self) -> None:
        self.conversation = Conversation()
        self.streams: dict[Direction, tuple[Reassembly, JsonStream]] = {}
        self.held = 0


class MiningProtocols:
    """Folds payloads into `MiningProtocolSpoken`."""

    consumes: ClassVar[tuple[type[Event], ...]] = (PayloadSeen,)

    def __init__(self, connections: int = CONNECTIONS, held_bytes: int = HELD_BYTES) -> None:
        self.evicted = 0
        self._limit = connections
        self._held_limit = held_bytes
        self._held = 0
        self._connections: OrderedDict[Hashable, _Connection] = OrderedDict()

    @property
    def held(self) -> int:
        """Bytes of unfinished lines."""
        return self._held

    def feed(self, observed: Observed) -> tuple[MiningProtocolSpoken, ...]:
        event = observed.event
        if not isinstance(event, PayloadSeen):
            return ()
        connection = self._connection(event)
        streams = connection.streams.get(event.direction)
        if streams is None:
            streams = connection.streams[event.direction] = Reassembly(), JsonStream()
        heard = tuple(
            _evidence(event, spoken) for spoken in _listen(event, *streams, connection.conversation)
        )
        self._account(connection)
        return heard

    def _connection(self, event: PayloadSeen) -> _Connection:
        key: Hashable = event.cookie or (event.process, event.address, event.port)
        connection = self._connections.get(key)
        if connection is None:
            connection = self._connections[key] = _Connection()
        self._connections.move_to_end(key)
        return connection

    def _account(self, connection: _Connection) -> None:
        held = sum(
            reassembly.held + stream.held for reassembly, stream in connection.streams.values()
        )
        self._held += held - connection.held
        connection.held = held
        while len(self._connections) > self._limit or self._held > self._held_limit:
            _, oldest = self._connections.popitem(last=False)
            self._held -= oldest.held
            self.evicted += 1


def _listen(
    event: PayloadSeen, reassembly: Reassembly, stream: JsonStream, conversation: Conversation
) -> Iterator[Spoken]:
    pieces = reassembly.feed(
        sequence=event.sequence,
        length=max(event.length, len(event.data)),
        data=event.data,
        # What this host sends is seen before the network can reorder it.
        in_order=event.direction == "out",
    )
    for piece in pieces:
        for found in stream.gap() if piece is GAP else stream.feed(piece):
            if isinstance(found, TextLine):
                _note_agent(found.text, conversation)
            else:
                yield from _recognise(found, conversation)


def _recognise(message: Message, conversation: Conversation) -> Iterator[Spoken]:
    batch = message.value if isinstance(message.value, list) else [message.value]
    for each in batch[:_BATCH]:
        spoken = conversation.recognise(each)
        if spoken is not None:
            yield spoken


def _note_agent(header: str, conversation: Conversation) -> None:
    name, _, value = header.partition(":")
    if name.lower() == "user-agent":
        conversation.agent = value.strip()[:MAX_TEXT]


def _evidence(event: PayloadSeen, spoken: Spoken) -> MiningProtocolSpoken:
    return MiningProtocolSpoken(
        at_ns=event.at_ns,
        process=event.process,
        cookie=event.cookie,
        direction=event.direction,
        address=event.address,
        port=event.port,
        protocol=spoken.protocol,
        method=spoken.method,
        login=spoken.login,
        agent=spoken.agent,
        algorithms=spoken.algorithms,
    )
