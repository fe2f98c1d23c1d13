# SPDX-License-Identifier: Apache-2.0
"""Decoding the probes' records."""

import contextlib
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firedamp.errors import DecodeError
from firedamp.events import decode as module
from firedamp.events import wire
from firedamp.events.decode import address_text, decode
from firedamp.events.model import PayloadSeen, ProcessExecuted, ProcessKey

TEXTS = st.binary(max_size=40).map(lambda raw: raw.replace(b"\0", b"/"))


def exec_record(image: bytes, filename: bytes, cwd: bytes, argv: list[bytes]) -> bytes:
    """An exec record as the probe writes it."""
    block = b"".join(one + b"\0" for one in argv)
    tail = image + filename + cwd + block
    size = module.EXEC_FORMAT.size + len(tail)
    numbers = (9, 8, 7, 6, 5, 0, 0o755, 3, 1000, 1001, 1002, 21, 22, 23, 0)
    lengths = (len(image), len(filename), len(cwd), len(block))
    return (
        module.EXEC_FORMAT.pack(1, 2, 3, wire.Kind.EXEC, size, *numbers, *lengths, b"comm") + tail
    )


@given(TEXTS, TEXTS, TEXTS, st.lists(TEXTS, min_size=1, max_size=6))
def test_exec_comes_out_as_it_went_in(image, filename, cwd, argv):
    """Whatever bytes paths and arguments are made of, none is lost or moved to a neighbour."""
    event = decode(exec_record(image, filename, cwd, argv))

    assert isinstance(event, ProcessExecuted)
    assert event.process == ProcessKey(3, 2)
    assert event.image.encode(errors="surrogateescape") == (image or b"/")
    assert event.filename.encode(errors="surrogateescape") == filename
    assert event.cwd.encode(errors="surrogateescape") == (cwd or b"/")
    assert [one.encode(errors="surrogateescape") for one in event.argv] == argv
    assert (event.uid, event.gid, event.loginuid) == (1000, 1001, 1002)
    assert (event.parent, event.inode, event.cgroup_id) == (ProcessKey(6, 9), 8, 7)
    assert (event.mount_ns, event.pid_ns, event.net_ns) == (21, 22, 23)


@given(st.binary(max_size=400))
def test_no_input_escapes_as_another_error(record):
    """The kernel side may be newer than we are; decoding must still never crash the daemon."""
    with contextlib.suppress(DecodeError):
        decode(record)


@given(st.sampled_from(list(wire.Kind)), st.binary(max_size=400))
def test_no_record_of_a_known_kind_escapes_as_another_error(kind, body):
    """Not even with a header that is right."""
    size = module.HEADER_FORMAT.size + len(body)
    record = module.HEADER_FORMAT.pack(1, 2, 3, kind, size) + body

    with contextlib.suppress(DecodeError):
        decode(memoryview(record))


@given(st.integers(min_value=1, max_value=200))
def test_truncated_exec_is_refused(cut):
    """A record that lost its end is malformed, not a shorter command line."""
    record = exec_record(b"/usr/bin/true", b"true", b"/", [b"true", b"x" * 200])

    with pytest.raises(DecodeError):
        decode(record[:-cut])


def test_tail_that_does_not_add_up_is_refused():
    """Lengths that claim more than is there could show one process another's arguments."""
    record = bytearray(exec_record(b"/bin/a", b"a", b"/", [b"a"]))
    at = module.EXEC_FORMAT.size - 24
    record[at : at + 2] = (200).to_bytes(2, "little")

    with pytest.raises(DecodeError, match="add up"):
        decode(bytes(record))


@given(st.binary(min_size=16, max_size=16))
def test_address_is_the_shortest_text(address):
    """As ipaddress writes it, v4-mapped addresses as IPv4."""
    expected = ipaddress.IPv6Address(address)

    assert address_text(address) == str(expected.ipv4_mapped or expected)


@given(st.lists(st.sampled_from([0, 0, 1, 0xABCD]), min_size=8, max_size=8))
def test_runs_of_zeroes_are_folded_as_the_rfc_says(groups):
    """RFC 5952: the first longest run, and never a single zero."""
    address = b"".join(group.to_bytes(2, "big") for group in groups)
    expected = ipaddress.IPv6Address(address)

    assert address_text(address) == str(expected.ipv4_mapped or expected)


def test_payload_keeps_its_direction_and_length():
    """What was cut is known from the length."""
    fields = (5, bytes(10) + b"\xff\xff\x0a\x01\x02\x03", 77, 3000, 3333, 3, 6, 1, 0)
    record = module.PAYLOAD_FORMAT.pack(
        1, 2, 3, wire.Kind.PAYLOAD, module.PAYLOAD_FORMAT.size + 3, *fields
    )

    event = decode(record + b"abc")

    assert event == PayloadSeen(
        at_ns=1,
        process=ProcessKey(3, 2),
        cookie=5,
        direction="in",
        transport="tcp",
        address="10.1.2.3",
        port=3333,
        sequence=77,
        length=3000,
        data=b"abc",
    )
