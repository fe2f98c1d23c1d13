# SPDX-License-Identifier: Apache-2.0
"""Which name an address was the answer to, from the DNS answers that were seen.

A process that connects to a bare address has as a rule asked for a name before; this brings the
two together without asking anyone. Whoever can answer a DNS question of a process on this host,
that process itself included, can make any address carry any name: a name is evidence, never
proof.

Blind spots: names that were resolved before the daemon started, through DNS over HTTPS or TLS,
from /etc/hosts, or by a cache that answers over something other than DNS.
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, NamedTuple

from firedamp.events.model import DnsAnswered

LIMIT = 8_192
"""Addresses, and as many aliases: some 4 MiB when full."""
NAMES_PER_ADDRESS = 4


class Resolved(NamedTuple):
    """A name that was asked for, and those that it turned out to stand for."""

    name: str
    aliases: tuple[str, ...]


class Names:
    """Addresses with the names that last led to them."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.evicted = 0
        self._limit = limit
        self._by_address: OrderedDict[str, tuple[Resolved, ...]] = OrderedDict()
        # Answers may come in parts: `a` is an alias of `b` in one, the addresses of `b` in the
        # next. The name that somebody wanted is still `a`.
        self._by_alias: OrderedDict[str, Resolved] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_address)

    def answered(self, event: DnsAnswered) -> None:
        """Remember what the answer says of addresses; it may say nothing."""
        resolved = self._asked_first(Resolved(event.name, event.aliases))
        for address in event.addresses:
            others = self._by_address.pop(address, ())
            kept = tuple(other for other in others if other.name != resolved.name)
            self._by_address[address] = (resolved, *kept[: NAMES_PER_ADDRESS - 1])
            self.evicted += _trim(self._by_address, self._limit)
        if event.aliases and not event.addresses:
            self._by_alias[event.aliases[-1]] = resolved
            self._by_alias.move_to_end(event.aliases[-1])
            _trim(self._by_alias, self._limit)

    def of(self, address: str) -> str:
        """The name last asked for that led to this address; "" where none is known."""
        known = self._by_address.get(address)
        return known[0].name if known else ""

    def all_of(self, address: str) -> tuple[str, ...]:
        """All names known for this address, aliases among them, the newest first."""
        known = self._by_address.get(address, ())
        return tuple(dict.fromkeys(name for each in known for name in (each.name, *each.aliases)))

    def remembered(self) -> Iterator[tuple[str, Resolved]]:
        """Every address with each of its names, in an order in which they can be told again."""
        for address, names in self._by_address.items():
            for resolved in reversed(names):
                yield address, resolved

    def _asked_first(self, resolved: Resolved) -> Resolved:
        before = self._by_alias.get(resolved.name)
        if before is None:
            return resolved
        # An alias of an alias, as deep as an answer may go: nobody has more in earnest.
        return Resolved(before.name, (*before.aliases, *resolved.aliases)[-16:])


def _trim(memory: OrderedDict[str, Any], limit: int) -> int:
    if len(memory) <= limit:
        return 0
    memory.popitem(last=False)
    return 1
