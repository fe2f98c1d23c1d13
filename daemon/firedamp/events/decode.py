# SPDX-License-Identifier: Apache-2.0
"""Bytes from a probe in, events out. No sockets, no maps, no clock."""

import ctypes
import struct
from collections.abc import Callable
from functools import lru_cache
from os import fsdecode
from typing import NamedTuple

from firedamp.errors import DecodeError
from firedamp.events import wire
from firedamp.events.model import (
    ConnectionOpened,
    Direction,
    DnsMessageSeen,
    Event,
    PayloadSeen,
    ProcessExecuted,
    ProcessExited,
    ProcessForked,
    ProcessKey,
    ProcessRenamed,
    Transport,
)

_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}
_MAPPED_IPV4 = b"\0" * 10 + b"\xff\xff"
_TRANSPORTS: dict[int, Transport] = {6: "tcp", 17: "udp"}


def _format(mirror: type[ctypes.Structure]) -> str:
    """The struct format of a mirror: numbers as numbers, arrays as bytes, headers inlined."""
    codes = ""
    for _, kind, *_ in mirror._fields_:
        if issubclass(kind, ctypes.Structure):
            codes += _format(kind)
        elif issubclass(kind, ctypes.Array):
            codes += f"{ctypes.sizeof(kind)}s"
        else:
            codes += _CODES[ctypes.sizeof(kind)]
    return codes


def _struct(mirror: type[ctypes.Structure]) -> struct.Struct:
    compiled = struct.Struct("<" + _format(mirror))
    if compiled.size != ctypes.sizeof(mirror):
        raise AssertionError(f"{mirror.__name__} has implicit padding")
    return compiled


HEADER_FORMAT = _struct(wire.Header)
EXEC_FORMAT = _struct(wire.Exec)
FORK_FORMAT = _struct(wire.Fork)
EXIT_FORMAT = _struct(wire.Exit)
RENAME_FORMAT = _struct(wire.Rename)
CONNECT_FORMAT = _struct(wire.Connect)
PAYLOAD_FORMAT = _struct(wire.Payload)
FILE_FORMAT = _struct(wire.File)


class InodeDirtied(NamedTuple):
    """A watched inode changed: half an event, which the file source completes with a path."""

    at_ns: int
    process: ProcessKey
    inode: int
    device: int
    uid: int


Decoded = Event | InodeDirtied
Decoder = Callable[[bytes | memoryview], Decoded]


def decode(record: bytes | memoryview) -> Decoded:
    """Turn one wire record into one event.

    Raises:
        DecodeError: the record is shorter than it says, or of a kind we do not know.
    """
    try:
        _, _, _, kind, size = HEADER_FORMAT.unpack_from(record)
        if size != len(record):
            raise DecodeError(f"record says {size} bytes, got {len(record)}")
        return _DECODERS[kind](record)
    except struct.error:
        raise DecodeError(f"record of {len(record)} bytes is too short for its kind") from None
    except KeyError:
        raise DecodeError(f"unknown record kind {kind}") from None


@lru_cache(maxsize=4096)
def address_text(address: bytes) -> str:
    """The shortest text of a 16-byte address; v4-mapped IPv6 as IPv4.

    By hand rather than by `ipaddress`, which costs ten times as much and megabytes.
    """
    if address.startswith(_MAPPED_IPV4):
        return ".".join([str(byte) for byte in address[12:]])
    groups = struct.unpack(">8H", address)
    best_at, best_len, at = 0, 1, 0  # RFC 5952: the first longest run of two zeroes or more
    while at < 8:
        end = at
        while end < 8 and groups[end] == 0:
            end += 1
        if end - at > best_len:
            best_at, best_len = at, end - at
        at = end + 1
    texts = [f"{group:x}" for group in groups]
    if best_len < 2:
        return ":".join(texts)
    return ":".join(texts[:best_at]) + "::" + ":".join(texts[best_at + best_len :])


def _text(field: bytes) -> str:
    return fsdecode(field.split(b"\0", 1)[0])


@lru_cache(maxsize=1024)  # servers run the same few command lines over and over
def _exec_texts(
    tail: bytes, image_len: int, filename_len: int, cwd_len: int, argv_len: int
) -> tuple[str, str, str, tuple[str, ...]]:
    cwd_at = image_len + filename_len
    argv_at = cwd_at + cwd_len
    if argv_at + argv_len != len(tail):
        raise DecodeError("the parts of an exec record's tail do not add up")
    argv = tail[argv_at:].removesuffix(b"\0")
    return (
        fsdecode(tail[:image_len]) or "/",
        fsdecode(tail[image_len:cwd_at]),
        fsdecode(tail[cwd_at:argv_at]) or "/",
        tuple(fsdecode(argv).split("\0")) if argv_len else (),
    )


def _exec(record: bytes | memoryview) -> ProcessExecuted:
    (
        at_ns, ticks, pid, _, _,
        parent_ticks, inode, cgroup_id, parent_pid, device, link_count, mode, image_uid,
        uid, gid, loginuid, mount_ns, pid_ns, net_ns, flags,
        image_len, filename_len, cwd_len, argv_len, comm,
    ) = EXEC_FORMAT.unpack_from(record)  # fmt: skip
    image, filename, cwd, argv = _exec_texts(
        bytes(record[EXEC_FORMAT.size :]), image_len, filename_len, cwd_len, argv_len
    )
    return ProcessExecuted(
        at_ns=at_ns,
        process=ProcessKey(pid, ticks),
        parent=ProcessKey(parent_pid, parent_ticks),
        image=image,
        filename=filename,
        argv=argv,
        argv_cut=bool(flags & wire.EXEC_ARGV_CUT),
        cwd=cwd,
        comm=_text(comm),
        uid=uid,
        gid=gid,
        loginuid=loginuid,
        device=device,
        inode=inode,
        link_count=link_count,
        mode=mode,
        image_uid=image_uid,
        cgroup_id=cgroup_id,
        mount_ns=mount_ns,
        pid_ns=pid_ns,
        net_ns=net_ns,
    )


def _fork(record: bytes | memoryview) -> ProcessForked:
    at_ns, ticks, pid, _, _, parent_ticks, cgroup_id, parent_pid, uid, comm = FORK_FORMAT.unpack(
        record
    )
    return ProcessForked(
        at_ns=at_ns,
        process=ProcessKey(pid, ticks),
        parent=ProcessKey(parent_pid, parent_ticks),
        uid=uid,
        cgroup_id=cgroup_id,
        comm=_text(comm),
    )


def _exit(record: bytes | memoryview) -> ProcessExited:
    at_ns, ticks, pid, _, _, cpu_ns, exit_code, _ = EXIT_FORMAT.unpack(record)
    return ProcessExited(
        at_ns=at_ns, process=ProcessKey(pid, ticks), cpu_ns=cpu_ns, exit_code=exit_code
    )


def _rename(record: bytes | memoryview) -> ProcessRenamed:
    at_ns, ticks, pid, _, _, old_comm, comm = RENAME_FORMAT.unpack(record)
    return ProcessRenamed(
        at_ns=at_ns, process=ProcessKey(pid, ticks), comm=_text(comm), old_comm=_text(old_comm)
    )


def _connect(record: bytes | memoryview) -> ConnectionOpened:
    (
        at_ns, ticks, pid, _, _, cookie, _, address, uid, port, protocol, flags,
    ) = CONNECT_FORMAT.unpack(record)  # fmt: skip
    return ConnectionOpened(
        at_ns=at_ns,
        process=ProcessKey(pid, ticks),
        cookie=cookie,
        transport=_TRANSPORTS.get(protocol, "other"),
        address=address_text(address),
        port=port,
        uid=uid,
        denied=bool(flags & wire.CONNECT_DENIED),
    )


def _payload(record: bytes | memoryview) -> PayloadSeen | DnsMessageSeen:
    (
        at_ns, ticks, pid, kind, _, cookie, address, sequence, length, port, data_len,
        protocol, direction, _,
    ) = PAYLOAD_FORMAT.unpack_from(record)  # fmt: skip
    data = bytes(record[PAYLOAD_FORMAT.size :])
    if data_len != len(data):
        raise DecodeError(f"payload record says {data_len} bytes of data, has {len(data)}")
    process = ProcessKey(pid, ticks)
    way: Direction = "out" if direction == wire.OUT else "in"
    if kind == wire.Kind.DNS:
        return DnsMessageSeen(
            at_ns=at_ns,
            process=process,
            cookie=cookie,
            direction=way,
            address=address_text(address),
            port=port,
            length=length,
            data=data,
        )
    return PayloadSeen(
        at_ns=at_ns,
        process=process,
        cookie=cookie,
        direction=way,
        transport=_TRANSPORTS.get(protocol, "other"),
        address=address_text(address),
        port=port,
        sequence=sequence,
        length=length,
        data=data,
    )


def _file(record: bytes | memoryview) -> InodeDirtied:
    at_ns, ticks, pid, _, _, inode, device, uid = FILE_FORMAT.unpack(record)
    return InodeDirtied(at_ns, ProcessKey(pid, ticks), inode, device, uid)


_DECODERS: dict[int, Decoder] = {
    wire.Kind.EXEC: _exec,
    wire.Kind.FORK: _fork,
    wire.Kind.EXIT: _exit,
    wire.Kind.RENAME: _rename,
    wire.Kind.CONNECT: _connect,
    wire.Kind.PAYLOAD: _payload,
    wire.Kind.DNS: _payload,
    wire.Kind.FILE: _file,
}
