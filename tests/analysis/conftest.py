# SPDX-License-Identifier: Apache-2.0
import pytest

from firedamp.context.host import HostContext
from firedamp.context.indicators import Indicators
from firedamp.context.process import Observed, Process
from firedamp.events.model import Event, PayloadSeen, ProcessKey

MINER = ProcessKey(4711, 99)


@pytest.fixture
def host():
    """A host of which nothing is known but one pool."""
    return HostContext(
        Indicators(
            domains=frozenset({"supportxmr.com"}),
            tokens=frozenset({"pool"}),
            stems=frozenset({"xmr"}),
            not_pools=frozenset({"ntp.org"}),
        )
    )


@pytest.fixture
def observed(host):
    """An event as analysers get it, by a process of which the given things are known."""

    def make(event: Event | None = None, **known: object) -> Observed:
        event = event or Event(at_ns=0, process=MINER)
        return Observed(event=event, process=Process(key=event.process, **known), host=host)

    return make


@pytest.fixture
def payload():
    """A segment of a connection to a pool."""

    def make(
        data: bytes, *, sequence: int = 1, length: int | None = None, **other: object
    ) -> PayloadSeen:
        fields = {"cookie": 7, "direction": "out", "address": "203.0.113.7", "port": 3333, **other}
        return PayloadSeen(
            at_ns=sequence,
            process=MINER,
            transport="tcp",
            sequence=sequence,
            length=len(data) if length is None else length,
            data=data,
            **fields,
        )

    return make


@pytest.fixture
def say(observed, payload):
    """Feed whole lines, each its own segment, and give back what was made of them."""

    def make(analyser, *lines: bytes, **other: object):
        sequence, heard = 1, []
        for line in lines:
            heard += analyser.feed(observed(payload(line, sequence=sequence, **other)))
            sequence += len(line)
        return heard

    return make
