# SPDX-License-Identifier: Apache-2.0
"""What is known before anything happens: names and addresses that belong to mining pools."""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Indicators:
    """Known names and addresses; a look-up costs the same however many there are."""

    domains: frozenset[str] = frozenset()
    """Each stands for itself and for every name below it. Lower case, no final dot."""
    addresses: frozenset[str] = frozenset()
    """Single addresses, in their shortest text form."""
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """Looked through one by one: meant for a few."""
    tokens: frozenset[str] = frozenset()
    """Words that a pool's name may hold, such as `pool`: weak."""
    stems: frozenset[str] = frozenset()
    """The same for what a word may begin or end with, such as `xmr`."""
    not_pools: frozenset[str] = frozenset()
    """Domains that hold such a word and are no pools; each with every name below it."""
