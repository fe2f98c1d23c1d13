# SPDX-License-Identifier: Apache-2.0
"""DNS messages: what is read from them, and that nothing in them does harm."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firedamp.analysis.dns import DnsTraffic
from firedamp.analysis.dns_message import decode_dns
from firedamp.errors import DecodeError
from firedamp.events.model import DnsMessageSeen, ProcessKey

ASKED = b"\x04pool\x0aSupportXMR\x03com\x00"
POINTER = b"\xc0\x0c"


def message(*records: bytes, flags: int = 0x8180, name: bytes = ASKED, kind: int = 1) -> bytes:
    """An answer with these records; with flags 0x0100, a query."""
    header = struct.pack("!HHHHHH", 0x1234, flags, 1, len(records), 0, 0)
    return header + name + struct.pack("!HH", kind, 1) + b"".join(records)


def record(kind: int, data: bytes, *, owner: bytes = POINTER) -> bytes:
    """One record of an answer."""
    return owner + struct.pack("!HHIH", kind, 1, 300, len(data)) + data


def test_question_is_read():
    """
    Names are compared without regard to case, so they come in lower case.
    """
    decoded = decode_dns(message(flags=0x0100, kind=28))

    assert (decoded.is_answer, decoded.name) == (False, "pool.supportxmr.com")
    assert decoded.record_type == "AAAA"


def test_answer_gives_addresses_of_both_families():
    """
    In their shortest form, each once, v4-mapped ones as IPv4.
    """
    decoded = decode_dns(
        message(
            record(1, bytes([203, 0, 113, 7])),
            record(1, bytes([203, 0, 113, 7])),
            record(28, bytes.fromhex("20010db8000000000000000000000001")),
            record(28, bytes.fromhex("00000000000000000000ffffcb007108")),
        )
    )

    assert decoded.addresses == ("203.0.113.7", "2001:db8::1", "203.0.113.8")


def test_aliases_are_followed():
    """
    The address belongs to the last alias, and so to the name that was asked for.
    """
    alias = b"\x01a\x07example\x00"
    decoded = decode_dns(message(record(5, alias), record(1, bytes(4), owner=alias)))

    assert decoded.aliases == ("a.example",)
    assert decoded.addresses == ("0.0.0.0",)


def test_records_of_other_names_are_left_out():
    """
    An answer cannot smuggle in an address for a name that nobody asked about.
    """
    decoded = decode_dns(message(record(1, bytes(4), owner=b"\x04bank\x07example\x00")))

    assert decoded.addresses == ()


@pytest.mark.parametrize(
    ("flags", "code"), [(0x8183, "NXDOMAIN"), (0x8180, "NOERROR"), (0x818B, "RCODE11")]
)
def test_response_code_is_named(flags, code):
    """
    By its usual name, or by its number where it has none.
    """
    assert decode_dns(message(flags=flags)).response_code == code


def test_unprintable_label_is_escaped():
    """
    A dot inside a label is no border between labels, and a name can go to a terminal.
    """
    decoded = decode_dns(message(flags=0x0100, name=b"\x04a.\x1b\xff\x01b\x00"))

    assert decoded.name == "a\\046\\027\\255.b"


def test_cut_answer_gives_what_is_whole():
    """
    The kernel side copies the first part of a long message.
    """
    whole = message(*(record(1, bytes([192, 0, 2, last])) for last in range(20)))

    decoded = decode_dns(whole[: len(whole) - 20])

    assert decoded.addresses == tuple(f"192.0.2.{last}" for last in range(18))


@pytest.mark.parametrize(
    "name",
    [
        b"\xc0\x0c",
        b"\x01a\xc0\x0c",
        b"\xc0\xff",
        b"\x3f" + b"a" * 63,
        b"\x80abc\x00",
        (b"\x3f" + b"a" * 63) * 4 + b"\x00",
    ],
    ids=["itself", "loop", "beyond", "no-end", "reserved", "too-long"],
)
def test_impossible_name_is_refused(name):
    """
    Pointers that go in circles, names without an end or longer than any name.
    """
    with pytest.raises(DecodeError):
        decode_dns(message(flags=0x0100, name=name))


def test_pointer_forward_is_refused():
    """
    A name can only repeat what stands before it.
    """
    with pytest.raises(DecodeError):
        decode_dns(message(flags=0x0100, name=b"\xc0\x12") + b"\x01a\x00")


@given(st.binary(max_size=600))
def test_no_input_escapes_as_another_error(data):
    """
    Anyone can send a datagram from port 53.
    """
    with contextlib.suppress(DecodeError):
        decode_dns(data)


@given(
    st.lists(st.tuples(st.sampled_from([1, 5, 28, 41]), st.binary(max_size=40)), max_size=8),
    st.integers(0, 400),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6),
)
def test_damaged_answer_escapes_as_no_other_error(records, cut, changes):
    """
    Messages that are nearly right reach deeper than noise does.
    """
    data = bytearray(message(*(record(kind, body) for kind, body in records)))
    for at, value in changes:
        if at < len(data):
            data[at] = value

    with contextlib.suppress(DecodeError):
        decoded = decode_dns(bytes(data[: len(data) - cut % len(data)]))
        assert decoded.name.isprintable()


@given(st.lists(st.from_regex(r"[a-z0-9-]{1,20}", fullmatch=True), min_size=1, max_size=6))
def test_every_ordinary_name_is_read_as_it_was_written(labels):
    """
    What was put in comes out.
    """
    name = b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\x00"

    assert decode_dns(message(flags=0x0100, name=name)).name == ".".join(labels)


def datagram(data: bytes, direction: str) -> DnsMessageSeen:
    """A datagram as the probe shows it."""
    return DnsMessageSeen(
        at_ns=5,
        process=ProcessKey(7, 7),
        cookie=1,
        direction=direction,
        address="192.0.2.53",
        port=53,
        length=len(data),
        data=data,
    )


def test_asking_and_being_answered_become_events(observed):
    """
    Bound to the process that asked.
    """
    analyser = DnsTraffic()

    [asked] = analyser.feed(observed(datagram(message(flags=0x0100), "out")))
    [answered] = analyser.feed(observed(datagram(message(record(1, bytes(4))), "in")))

    assert (asked.name, asked.record_type, asked.server) == (
        "pool.supportxmr.com", "A", "192.0.2.53",
    )  # fmt: skip
    assert (answered.name, answered.addresses) == ("pool.supportxmr.com", ("0.0.0.0",))
    assert answered.process == ProcessKey(7, 7)


def test_serving_names_is_not_asking(observed):
    """
    What a name server of this host is asked says nothing about what its processes want.
    """
    analyser = DnsTraffic()

    assert list(analyser.feed(observed(datagram(message(flags=0x0100), "in")))) == []
    assert list(analyser.feed(observed(datagram(message(record(1, bytes(4))), "out")))) == []
    assert analyser.undecoded == 0


def test_noise_on_the_port_is_counted(observed):
    """
    Other protocols use port 53 to get through firewalls.
    """
    analyser = DnsTraffic()

    assert list(analyser.feed(observed(datagram(b"\x16\x03\x01", "out")))) == []
    assert analyser.undecoded == 1
