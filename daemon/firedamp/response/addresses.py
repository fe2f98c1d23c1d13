# SPDX-License-Identifier: Apache-2.0
"""Which addresses are never blocked, whatever a policy says.

Hard rules: loopback, unspecified, link-local and multicast addresses; the host's own; its
resolvers; the gateways of its routes, in every routing table. Settings add to these. All is
asked anew for each block: an address may have become the host's own a second ago.
"""

import ipaddress
import os
import socket
import struct
from collections.abc import Iterable, Iterator

from firedamp.errors import ConfigError, Refused
from firedamp.settings import Allow

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_RESOLVERS = (
    "/etc/resolv.conf",
    "/run/systemd/resolve/resolv.conf",
    "/run/resolvconf/resolv.conf",
    "/run/NetworkManager/resolv.conf",
)

# linux/netlink.h, linux/rtnetlink.h, linux/if_addr.h
_NLMSG_DONE, _NLMSG_ERROR = 3, 2
_RTM_GETADDR, _RTM_GETROUTE = 22, 26
_NLM_F_REQUEST, _NLM_F_DUMP = 0x1, 0x300
_HEADER = struct.Struct("=IHHII")
_IFADDRMSG, _RTMSG, _RTNEXTHOP = 8, 12, 8
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST = 1, 2, 4
_RTA_GATEWAY, _RTA_MULTIPATH, _RTA_VIA = 5, 9, 18


class AddressGuard:
    """Raises Refused for addresses that must stay reachable."""

    def __init__(self, allow: Allow) -> None:
        """Read what the settings allow.

        Raises:
            ConfigError: an entry of allow.addresses is no address or network.
        """
        try:
            self._allowed = [ipaddress.ip_network(text, strict=False) for text in allow.addresses]
        except ValueError as error:
            raise ConfigError(f"allow.addresses: {error}") from None

    def check(self, text: str) -> Address:
        """Return the address in its own family (v4-mapped IPv6 as IPv4) if it may be blocked.

        Raises:
            Refused: it may not, or it is no address; the text says why.
        """
        address = parse(text)
        for kind in ("loopback", "unspecified", "link_local", "multicast"):
            if getattr(address, f"is_{kind}"):
                raise Refused(f"{address} is a {kind.replace('_', '-')} address")
        if address == ipaddress.IPv4Address("255.255.255.255"):
            raise Refused(f"{address} is the broadcast address")
        for network in self._allowed:
            if address in network:
                raise Refused(f"{address} is in allow.addresses ({network})")
        self._check_host(address)
        return address

    def _check_host(self, address: Address) -> None:
        try:
            if address in own_addresses():
                raise Refused(f"{address} is an address of this host")
            if address in gateways():
                raise Refused(f"{address} is a gateway of this host")
        except OSError as error:
            raise Refused(f"the kernel does not tell this host's addresses: {error}") from error
        if address in resolvers():
            raise Refused(f"{address} is a name server of this host")


def parse(text: str) -> Address:
    """Read an address; a v4-mapped IPv6 address becomes the IPv4 address that it stands for.

    Raises:
        Refused: it is no address.
    """
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        raise Refused(f"{text!r} is not an address") from None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def own_addresses() -> frozenset[Address]:
    """Of every interface in the daemon's network namespace, broadcast addresses included."""
    wanted = (_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST)
    return frozenset(
        ipaddress.ip_address(value)
        for payload in _dump(_RTM_GETADDR, _IFADDRMSG)
        for kind, value in _attributes(payload[_IFADDRMSG:])
        # With a peer, ADDRESS is the other end: it is as close as a gateway.
        if kind in wanted and len(value) in (4, 16)
    )


def gateways() -> frozenset[Address]:
    """Next hops of every route in every table of the daemon's network namespace."""
    hops: set[Address] = set()
    for payload in _dump(_RTM_GETROUTE, _RTMSG):
        hops.update(next_hops(payload[_RTMSG:]))
    return frozenset(hops)


def resolvers(paths: Iterable[str] = _RESOLVERS) -> frozenset[Address]:
    """Name servers that the host is set up to ask."""
    found: set[Address] = set()
    for path in paths:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                lines = [line.split() for line in file]
        except OSError:
            continue
        for words in lines:
            if len(words) > 1 and words[0] == "nameserver":
                try:
                    found.add(parse(words[1]))
                except Refused:
                    continue
    return frozenset(found)


def next_hops(attributes: bytes) -> Iterator[Address]:
    for kind, value in _attributes(attributes):
        if kind == _RTA_GATEWAY and len(value) in (4, 16):
            yield ipaddress.ip_address(value)
        elif kind == _RTA_VIA and len(value) in (6, 18):
            yield ipaddress.ip_address(value[2:])
        elif kind == _RTA_MULTIPATH:
            hops = value
            while len(hops) >= _RTNEXTHOP:
                length = max(_RTNEXTHOP, struct.unpack_from("=H", hops)[0])
                yield from next_hops(hops[_RTNEXTHOP:length])
                hops = hops[(length + 3) & ~3 :]


def _attributes(raw: bytes) -> Iterator[tuple[int, bytes]]:
    while len(raw) >= 4:
        length, kind = struct.unpack_from("=HH", raw)
        if length < 4:
            return
        yield kind & 0x3FFF, raw[4:length]
        raw = raw[(length + 3) & ~3 :]


def _dump(message: int, body: int) -> Iterator[bytes]:
    request = _HEADER.pack(
        _HEADER.size + body, message, _NLM_F_REQUEST | _NLM_F_DUMP, 1, 0
    ) + bytes(body)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as route:
        route.settimeout(1.0)
        route.send(request)
        while True:
            answer = route.recv(1 << 16)
            while len(answer) >= _HEADER.size:
                length, kind, _, _, _ = _HEADER.unpack_from(answer)
                if kind == _NLMSG_DONE:
                    return
                if kind == _NLMSG_ERROR:
                    code = -struct.unpack_from("=i", answer, _HEADER.size)[0]
                    raise OSError(code, os.strerror(code))
                yield answer[_HEADER.size : length]
                answer = answer[(length + 3) & ~3 :]
