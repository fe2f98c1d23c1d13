# SPDX-License-Identifier: Apache-2.0
"""Rows of the kernel's socket tables."""

import contextlib
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firedamp.errors import DecodeError
from firedamp.sources.sockdiag import Socket, parse


def row(family: int, address: bytes) -> bytes:
    """One struct inet_diag_msg, as the kernel fills it."""
    return (
        struct.pack("=BBBB", family, 1, 0, 0)
        + struct.pack(">HH", 40000, 3333)
        + bytes(16)
        + address.ljust(16, b"\0")
        + struct.pack("=IQ", 0, 0x1_0000_0002)
        + struct.pack("=IIIII", 0, 0, 0, 33, 777)
    )


@pytest.mark.parametrize(
    ("family", "address", "text"),
    [
        (socket.AF_INET, socket.inet_pton(socket.AF_INET, "203.0.113.7"), "203.0.113.7"),
        (socket.AF_INET6, socket.inet_pton(socket.AF_INET6, "2001:db8::7"), "2001:db8::7"),
        (socket.AF_INET6, bytes(10) + b"\xff\xff\xcb\0\x71\x07", "203.0.113.7"),
    ],
    ids=["IPv4", "IPv6", "IPv4 in IPv6"],
)
def test_a_row_is_understood(family, address, text):
    """
    Addresses come in their shortest form, and mapped ones as what they are on the wire.
    """
    assert parse(row(family, address), socket.IPPROTO_TCP) == Socket(
        protocol=socket.IPPROTO_TCP,
        state=1,
        local_port=40000,
        address=text,
        port=3333,
        cookie=0x1_0000_0002,
        uid=33,
        inode=777,
    )


@given(st.binary(max_size=100))
def test_no_input_escapes_as_another_error(data):
    """
    A row that is too short is refused; any other has every field.
    """
    with contextlib.suppress(DecodeError):
        parse(data, socket.IPPROTO_TCP)
