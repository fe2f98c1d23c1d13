# SPDX-License-Identifier: Apache-2.0
"""The connections that are there already, from the kernel's socket tables.

Netlink is spoken by hand: measured on 4,000 sockets, pyroute2's `DiagSocket` takes 350 ms and
costs the process 35 MiB for good (it brings asyncio), this 8 ms and nothing.

Rule 1. Only what this host asked for counts, as with the probes: a connection from a port that
        is listened on is one that somebody else opened.
Rule 2. Sockets are looked for in every network namespace that a process is in. A namespace is
        entered by a thread that ends at once; a netlink socket stays in its namespace.
"""

import ctypes
import errno
import os
import socket
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from firedamp.errors import DecodeError, SourceError
from firedamp.events.model import UNKNOWN_PROCESS, ConnectionFound, ProcessFound, ProcessKey
from firedamp.sources.ownproc import link, numbers, proc

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST_DUMP = 0x301
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_ESTABLISHED = 1
_SYN_SENT = 2
_LISTEN = 10
_STATES: Final = {
    socket.IPPROTO_TCP: 1 << _ESTABLISHED | 1 << _SYN_SENT | 1 << _LISTEN,
    socket.IPPROTO_UDP: 1 << _ESTABLISHED,  # what connect() makes of a UDP socket
}
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBxI48x")
# family, state; source and destination port; addresses; cookie; uid, inode.
_SOCKET = struct.Struct("=BBxx2s2s16s16s4xQ12xII")
_ERROR = struct.Struct("=i")
_BUFFER = 1 << 17
_TIMEOUT_S = 5.0
_V4_MAPPED = bytes(10) + b"\xff\xff"
_CLONE_NEWNET = 0x4000_0000
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Socket:
    """One row of the kernel's table. Addresses in text, v4-mapped ones as IPv4."""

    protocol: int
    state: int
    local_port: int
    address: str
    port: int
    cookie: int
    uid: int
    inode: int


def connections(processes: Iterable[ProcessFound]) -> list[ConnectionFound]:
    """TCP connections and connected UDP sockets that processes of this host opened.

    `processes` says where to look for namespaces and for the owners of sockets.

    Raises:
        SourceError: the kernel cannot list the sockets of our own network namespace.
    """
    processes = list(processes)
    found = _opened(_open_here())
    for path, number in _other_namespaces(processes):
        netlink = _open_in(path, number)
        if netlink is not None:
            found += _opened(netlink)
    owners = _owners({row.inode for _, row in found}, processes) if found else {}
    return [
        ConnectionFound(
            at_ns=at_ns,
            process=owners.get(row.inode, UNKNOWN_PROCESS),
            cookie=row.cookie,
            transport="tcp" if row.protocol == socket.IPPROTO_TCP else "udp",
            address=row.address,
            port=row.port,
            uid=row.uid,
            denied=False,
        )
        for at_ns, row in found
    ]


def parse(message: bytes, protocol: int) -> Socket:
    """One answer of the kernel, without its netlink header.

    Raises:
        DecodeError: it does not have the form that it should.
    """
    if len(message) < _SOCKET.size:
        raise DecodeError(f"socket record of {len(message)} bytes")
    family, state, local, remote, _, to, cookie, uid, inode = _SOCKET.unpack_from(message)
    return Socket(
        protocol=protocol,
        state=state,
        local_port=int.from_bytes(local, "big"),
        address=_text(family, to),
        port=int.from_bytes(remote, "big"),
        cookie=cookie,
        uid=uid,
        inode=inode,
    )


def _text(family: int, address: bytes) -> str:
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, address[:4])
    if address.startswith(_V4_MAPPED):
        return socket.inet_ntop(socket.AF_INET, address[12:])
    return socket.inet_ntop(socket.AF_INET6, address)


def _opened(netlink: socket.socket) -> list[tuple[int, Socket]]:
    """The sockets of a namespace that were opened from within, each with when it was seen."""
    with netlink:
        rows = [
            row
            for protocol in _STATES
            for family in (socket.AF_INET, socket.AF_INET6)
            for row in _dump(netlink, family, protocol)
        ]
    at_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    listening = {row.local_port for row in rows if row.state == _LISTEN}
    return [
        (at_ns, row)
        for row in rows
        if row.state != _LISTEN
        and row.port
        and not (row.protocol == socket.IPPROTO_TCP and row.local_port in listening)
    ]


def _dump(netlink: socket.socket, family: int, protocol: int) -> Iterator[Socket]:
    request = _REQUEST.pack(family, protocol, 0, _STATES[protocol])
    size = _HEADER.size + len(request)
    netlink.send(_HEADER.pack(size, _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 0, 0) + request)
    while True:
        data = netlink.recv(_BUFFER)
        offset = 0
        while offset + _HEADER.size <= len(data):
            length, kind, *_ = _HEADER.unpack_from(data, offset)
            if length < _HEADER.size or offset + length > len(data):
                raise DecodeError(f"netlink message claims {length} bytes")
            body = data[offset + _HEADER.size : offset + length]
            if kind == _NLMSG_DONE:
                return
            if kind == _NLMSG_ERROR:
                if _is_missing(body):
                    return
                raise SourceError(f"the kernel does not list sockets: {_error(body)}")
            yield parse(body, protocol)
            offset += (length + 3) & ~3


def _is_missing(body: bytes) -> bool:
    """The kernel has no such table: no UDP, no IPv6, or no module to list it."""
    return len(body) >= 4 and _ERROR.unpack_from(body)[0] in (-errno.ENOENT, -errno.EAFNOSUPPORT)


def _error(body: bytes) -> str:
    return os.strerror(-_ERROR.unpack_from(body)[0]) if len(body) >= 4 else "truncated error"


def _open_here() -> socket.socket:
    try:
        netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG)
    except OSError as error:
        raise SourceError(f"no socket tables: {error.strerror}") from error
    netlink.settimeout(_TIMEOUT_S)
    return netlink


def _other_namespaces(processes: Iterable[ProcessFound]) -> Iterator[tuple[str, int]]:
    seen = {0, os.stat("/proc/self/ns/net").st_ino}
    for process in processes:
        if process.net_ns not in seen:
            seen.add(process.net_ns)
            yield f"{process.process.pid}/ns/net", process.net_ns


def _open_in(path: str, number: int) -> socket.socket | None:
    """A netlink socket in that network namespace; None where it is gone or closed to us."""
    opened: list[socket.socket] = []

    def enter() -> None:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc())
        except OSError:
            return
        try:
            if os.fstat(fd).st_ino == number and _libc.setns(fd, _CLONE_NEWNET) == 0:
                opened.append(_open_here())
        finally:
            os.close(fd)

    thread = threading.Thread(target=enter, name="netns")
    thread.start()
    thread.join()
    return opened[0] if opened else None


def _owners(inodes: set[int], processes: Iterable[ProcessFound]) -> dict[int, ProcessKey]:
    """Who holds each socket; of several, the youngest: servers hand theirs down."""
    owners: dict[int, ProcessKey] = {}
    for process in processes:
        for inode in _sockets_of(process.process.pid):
            if inode not in inodes:
                continue
            rival = owners.get(inode)
            if rival is None or rival.started_ticks < process.process.started_ticks:
                owners[inode] = process.process
    return owners


def _sockets_of(pid: int) -> Iterator[int]:
    for number in numbers(f"{pid}/fd"):
        target = link(f"{pid}/fd/{number}")
        if target.startswith("socket:["):
            yield int(target[8:-1])
