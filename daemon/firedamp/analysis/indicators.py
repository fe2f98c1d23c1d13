# SPDX-License-Identifier: Apache-2.0
"""Names and addresses that are known to be mining pools', or look like it.

`PoolIndicator` is the known name or address that an event shows: exact, or a parent domain of
what it shows. `PoolNameToken` is a word such as `xmr` in a name that is on no list: weak, as are
`pool.ntp.org` and its like. Both look at the name that was asked for, at its aliases, at the
names that the address was the answer to, and at the address.

Blind spots: pools that are on no list (lists that people publish share few entries), and
proxies, whose names and addresses are anyone's. A name is what some name server said: it can be
made to fit an innocent address, and never is proof.
"""

import ipaddress
import re
from collections.abc import Iterator

from firedamp.analysis.base import FieldValue
from firedamp.context.indicators import Indicators
from firedamp.context.process import Observed
from firedamp.events.model import (
    ConnectionOpened,
    DnsAnswered,
    DnsAsked,
    MiningProtocolSpoken,
)

_WORDS = re.compile(r"[a-z]+")


def pool_indicator(observed: Observed) -> FieldValue:
    """The listed domain, address or network that the event shows; None where none."""
    known = observed.host.indicators
    for name in _names(observed):
        domain = _listed_parent(name, known.domains)
        if domain:
            return domain
    for address in _addresses(observed):
        listed = _listed_address(address, known)
        if listed:
            return listed
    return None


def pool_name_token(observed: Observed) -> FieldValue:
    """The words of pools' names that the event's names hold; None where none."""
    known = observed.host.indicators
    found: dict[str, None] = {}
    for name in _names(observed):
        if not _listed_parent(name, known.not_pools):
            found.update(dict.fromkeys(_tokens(name, known)))
    return tuple(found) or None


def _names(observed: Observed) -> tuple[str, ...]:
    event = observed.event
    match event:
        case DnsAsked():
            return (event.name,)
        case DnsAnswered():
            return (event.name, *event.aliases)
        case ConnectionOpened() | MiningProtocolSpoken():
            return observed.host.names.all_of(event.address)
    return ()


def _addresses(observed: Observed) -> tuple[str, ...]:
    event = observed.event
    match event:
        case DnsAnswered():
            return event.addresses
        case ConnectionOpened() | MiningProtocolSpoken():
            return (event.address,)
    return ()


def _listed_parent(name: str, domains: frozenset[str]) -> str | None:
    while name:
        if name in domains:
            return name
        name = name.partition(".")[2]
    return None


def _listed_address(address: str, known: Indicators) -> str | None:
    if address in known.addresses:
        return address
    if not known.networks:
        return None
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    return next((str(network) for network in known.networks if parsed in network), None)


def _tokens(name: str, known: Indicators) -> Iterator[str]:
    """Words of the name that are listed, and listed beginnings and ends of its words.

    A word is a run of letters in one label; the last label, the top-level domain, is none.
    """
    for word in _WORDS.findall(name.rpartition(".")[0]):
        if word in known.tokens:
            yield word
        for length in range(3, len(word) + 1):
            for part in (word[:length], word[-length:]):
                if part in known.stems:
                    yield part
