# SPDX-License-Identifier: Apache-2.0
"""Which names processes ask for, and what they are told.

Blind spots: DNS over HTTPS, TLS or TCP; a resolver on another port than 53; answers from
/etc/hosts or a local cache over something other than DNS. Where a local resolver serves the
host, a name is asked for twice: by the process, of the resolver, and by the resolver, of the
network.
"""

from collections.abc import Iterator
from typing import ClassVar

from firedamp.analysis.dns_message import decode_dns
from firedamp.context.process import Observed
from firedamp.errors import DecodeError
from firedamp.events.model import DnsAnswered, DnsAsked, DnsMessageSeen, Event


class DnsTraffic:
    """Turns DNS datagrams into what was asked and answered.

    What the host is asked as a name server itself is left out: it says nothing about what its
    processes want. So is a datagram that is no DNS; `undecoded` counts those.
    """

    consumes: ClassVar[tuple[type[Event], ...]] = (DnsMessageSeen,)

    def __init__(self) -> None:
        self.undecoded = 0

    def feed(self, observed: Observed) -> Iterator[DnsAsked | DnsAnswered]:
        event = observed.event
        if not isinstance(event, DnsMessageSeen):
            return
        try:
            message = decode_dns(event.data)
        except DecodeError:
            self.undecoded += 1
            return
        if message.is_answer and event.direction == "in":
            yield DnsAnswered(
                at_ns=event.at_ns,
                process=event.process,
                name=message.name,
                record_type=message.record_type,
                response_code=message.response_code,
                addresses=message.addresses,
                aliases=message.aliases,
            )
        elif not message.is_answer and event.direction == "out":
            yield DnsAsked(
                at_ns=event.at_ns,
                process=event.process,
                name=message.name,
                record_type=message.record_type,
                server=event.address,
            )
