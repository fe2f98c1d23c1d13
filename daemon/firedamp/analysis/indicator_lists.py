# SPDX-License-Identifier: Apache-2.0
"""Reading lists of indicators from text.

A list has one entry a line; # begins a comment, which is where source and date stand. Its file
is called after its kind: pool_domains.txt, pool_addresses.txt, pool_name_tokens.txt,
not_pools.txt.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network

from firedamp.context.indicators import Indicators

DOMAINS = "pool_domains"
ADDRESSES = "pool_addresses"
TOKENS = "pool_name_tokens"
NOT_POOLS = "not_pools"

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
# At least two labels: a list that says `com` would make every name a pool's.
_DOMAIN = re.compile(rf"(?=.{{4,253}}$){_LABEL}(?:\.{_LABEL})+")
_TOKEN = re.compile(r"[a-z]{3,32}\*?")
_MEANING = {
    DOMAINS: "domain name",
    ADDRESSES: "address or network",
    TOKENS: "word of 3 to 32 letters, with a * where it may be part of one",
    NOT_POOLS: "domain name",
}


def read_indicators(lists: Iterable[tuple[str, str]]) -> tuple[Indicators, tuple[str, ...]]:
    """Make indicators of (kind, text) pairs; several lists of a kind add up.

    Also gives what is wrong, each with kind and line: wrong lines and unknown kinds are left
    out, and nothing raises.
    """
    entries: dict[str, set[str]] = {kind: set() for kind in _MEANING}
    wrong: list[str] = []
    for kind, text in lists:
        if kind not in entries:
            wrong.append(f"{kind}: no such kind of list; there are {', '.join(_MEANING)}")
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            entry = line.partition("#")[0].strip().lower().rstrip(".")
            normal = _normal(kind, entry)
            if normal:
                entries[kind].add(normal)
            elif entry:
                wrong.append(f"{kind}:{number}: {entry!r} is no {_MEANING[kind]}")
    return _indicators(entries), tuple(wrong)


def _normal(kind: str, entry: str) -> str | None:
    """The entry as it is looked up; None where it is not of the kind."""
    if kind == ADDRESSES:
        network = _network(entry)
        return str(network) if network is not None else None
    pattern = _TOKEN if kind == TOKENS else _DOMAIN
    return entry if pattern.fullmatch(entry) else None


def _network(entry: str) -> IPv4Network | IPv6Network | None:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None


def _indicators(entries: Mapping[str, set[str]]) -> Indicators:
    networks = [ipaddress.ip_network(entry) for entry in sorted(entries[ADDRESSES])]
    return Indicators(
        domains=frozenset(entries[DOMAINS]),
        addresses=frozenset(
            str(network.network_address) for network in networks if network.num_addresses == 1
        ),
        networks=tuple(network for network in networks if network.num_addresses > 1),
        tokens=frozenset(entry for entry in entries[TOKENS] if entry.isalpha()),
        stems=frozenset(entry[:-1] for entry in entries[TOKENS] if entry.endswith("*")),
        not_pools=frozenset(entries[NOT_POOLS]),
    )
