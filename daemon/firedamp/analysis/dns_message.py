# SPDX-License-Identifier: Apache-2.0
"""Decoding DNS messages (RFC 1035), as far as a watcher needs it.

Written out rather than taken from a library: the one light library there is costs the
long-lived process 4 MiB and 24 ms at import for record types that nobody here reads, and raises
at the first record it cannot read, where we want what stood before it.

Rules: whatever the bytes, the work is bounded (a name has at most 255 bytes and follows at most
16 pointers, each to an earlier place; at most 64 records are read); a message that is cut gives
what is whole; nothing but DecodeError is raised.
"""

import ipaddress
import struct
from dataclasses import dataclass

from firedamp.errors import DecodeError

_HEADER = struct.Struct("!HHHHHH")
_QUESTION = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")
_POINTER = 0xC0
_MAX_NAME = 255
_MAX_POINTERS = 16
_MAX_RECORDS = 64
_IN = 1
_A, _CNAME, _AAAA = 1, 5, 28

RECORD_TYPES = {
    1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA",
    33: "SRV", 35: "NAPTR", 41: "OPT", 43: "DS", 46: "RRSIG", 48: "DNSKEY", 64: "SVCB",
    65: "HTTPS", 252: "AXFR", 255: "ANY", 257: "CAA",
}  # fmt: skip
RESPONSE_CODES = {
    0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsMessage:
    """A standard query or the answer to one: its question, and what answers that."""

    is_answer: bool
    name: str
    """Lower case, without the final dot; what is not printable is written \\DDD. "" is the
    root."""
    record_type: str
    response_code: str
    addresses: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    """The names that the question's name turned out to stand for, in their order."""


def decode_dns(data: bytes) -> DnsMessage:
    """Read a message of which the end may be missing.

    Raises:
        DecodeError: it is no query with a question, nor the answer to one.
    """
    if len(data) < _HEADER.size:
        raise DecodeError(f"{len(data)} bytes are no DNS message")
    _id, flags, questions, answers, _authorities, _additional = _HEADER.unpack_from(data)
    if flags >> 11 & 15:
        raise DecodeError("a DNS message that is no standard query")
    if questions != 1:
        raise DecodeError(f"a DNS message with {questions} questions")
    name, at = _name(data, _HEADER.size)
    if at + _QUESTION.size > len(data):
        raise DecodeError("a DNS question without its type")
    number, _class = _QUESTION.unpack_from(data, at)
    is_answer = bool(flags >> 15)
    addresses, aliases = (
        _answers(data, at + _QUESTION.size, asked=name, count=answers) if is_answer else ((), ())
    )
    return DnsMessage(
        is_answer=is_answer,
        name=name,
        record_type=RECORD_TYPES.get(number, f"TYPE{number}"),
        response_code=RESPONSE_CODES.get(flags & 15, f"RCODE{flags & 15}"),
        addresses=addresses,
        aliases=aliases,
    )


def _answers(
    data: bytes, at: int, *, asked: str, count: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Addresses and aliases of the name that was asked for.

    Records of other names are left out: an answer could smuggle in what nobody asked about.
    Aliases stand before what they lead to, as every server sends them.
    """
    names = [asked]
    addresses: list[str] = []
    try:
        for _ in range(min(count, _MAX_RECORDS)):
            owner, at = _name(data, at)
            kind, class_, _ttl, length = _RECORD.unpack_from(data, at)
            at += _RECORD.size
            if at + length > len(data):
                break
            if class_ == _IN and owner in names:
                if kind == _CNAME:
                    names.append(_name(data, at)[0])
                elif (kind, length) in {(_A, 4), (_AAAA, 16)}:
                    addresses.append(_address(data[at : at + length]))
            at += length
    except (DecodeError, struct.error):
        pass  # the rest is missing or broken; what stood before it holds
    return tuple(dict.fromkeys(addresses)), tuple(dict.fromkeys(names[1:]))


def _address(packed: bytes) -> str:
    address = ipaddress.ip_address(packed)
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def _name(data: bytes, at: int) -> tuple[str, int]:
    """The name that begins at `at`, and where what follows it begins."""
    labels: list[str] = []
    length = pointers = 0
    end = -1
    while True:
        if at >= len(data):
            raise DecodeError("a DNS name without an end")
        size = data[at]
        if size & _POINTER == _POINTER:
            if at + 2 > len(data):
                raise DecodeError("a DNS name that ends in half a pointer")
            target = (size & ~_POINTER) << 8 | data[at + 1]
            end = at + 2 if end < 0 else end
            pointers += 1
            if target >= at or pointers > _MAX_POINTERS:
                raise DecodeError("a DNS name that points in a circle")
            at = target
            continue
        at += 1
        if size == 0:
            return ".".join(labels), at if end < 0 else end
        length += size + 1
        if size & _POINTER or length >= _MAX_NAME or at + size > len(data):
            raise DecodeError("a DNS name that is too long or cut")
        labels.append(_label(data[at : at + size]))
        at += size


def _label(raw: bytes) -> str:
    text = raw.decode("latin-1").lower()
    if text.isascii() and text.isprintable() and "." not in text and "\\" not in text:
        return text
    return "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte not in b".\\" else f"\\{byte:03d}"
        for byte in raw.lower()
    )
