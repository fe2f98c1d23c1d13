# SPDX-License-Identifier: Apache-2.0
"""Records of fanotify: understood if they are what they claim, refused if not."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firedamp.errors import DecodeError
from firedamp.sources import fanotify
from firedamp.sources.fanotify import Entry, parse

DIRECTORY = b"filesys1" + struct.pack("=II", 4, 1) + b"DIRX"
FILE = b"filesys1" + struct.pack("=II", 8, 1) + b"FILEFILE"


def info(kind: int, body: bytes) -> bytes:
    """One part of a record, padded as the kernel pads it."""
    body += b"\0" * (-len(body) % 4)
    return struct.pack("=BBH", kind, 0, 4 + len(body)) + body


def record(mask: int, *infos: bytes, pid: int = 7, version: int = 3) -> bytes:
    """A whole record."""
    body = b"".join(infos)
    return struct.pack("=IBBHQii", 24 + len(body), version, 0, 24, mask, -1, pid) + body


def test_a_change_of_a_file_in_a_directory_is_understood():
    """
    The directory with the name, the file itself and the pidfd come in records of their own.
    """
    data = record(
        fanotify.MODIFY,
        info(2, DIRECTORY + b"crontab\0"),
        info(1, FILE),
        info(4, struct.pack("=i", 42)),
    )

    [parsed] = parse(data)

    assert (parsed.mask, parsed.pid, parsed.pidfd) == (fanotify.MODIFY, 7, 42)
    assert parsed.entry == Entry(DIRECTORY, "crontab")
    assert parsed.target == FILE


def test_both_ends_of_a_rename_are_understood():
    """
    Which is the old one and which the new is said by the kind, not by the order.
    """
    data = record(fanotify.RENAME, info(12, DIRECTORY + b"new\0"), info(10, DIRECTORY + b"old\0"))

    [parsed] = parse(data)

    assert parsed.old == Entry(DIRECTORY, "old")
    assert parsed.new == Entry(DIRECTORY, "new")


def test_a_name_that_is_no_text_is_kept():
    """
    File names are bytes; what cannot be decoded must still name the same file.
    """
    [parsed] = parse(record(fanotify.CREATE, info(2, DIRECTORY + b"\xff\n\0")))

    assert parsed.entry == Entry(DIRECTORY, "\udcff\n")


def test_records_of_kinds_unknown_to_us_are_passed_over():
    """
    A newer kernel may say more than we asked for.
    """
    data = record(fanotify.CREATE, info(99, b"whatever"), info(2, DIRECTORY + b"x\0"))

    [first, second] = parse(data + record(fanotify.DELETE))

    assert first.entry == Entry(DIRECTORY, "x")
    assert second.mask == fanotify.DELETE


WHOLE = record(
    fanotify.MODIFY, info(2, DIRECTORY + b"x\0"), info(1, FILE), info(4, struct.pack("=i", 42))
)


@pytest.mark.parametrize("length", range(1, len(WHOLE)))
def test_a_record_that_was_cut_is_refused(length):
    """
    Wherever it ends before its end, it says more than it holds.
    """
    with pytest.raises(DecodeError):
        parse(WHOLE[:length])


@pytest.mark.parametrize(
    "data",
    [
        record(0, version=2),
        struct.pack("=IBBHQii", 24, 3, 0, 25, 0, -1, 0),
        struct.pack("=IBBHQii", 0, 3, 0, 24, 0, -1, 0),
        record(0, struct.pack("=BBH", 1, 0, 0)),
        record(0, info(1, b"short")),
        record(0, info(1, b"filesys1" + struct.pack("=II", 400, 1))),
        record(0, info(4, b"")),
    ],
    ids=["version", "header", "endless", "endless part", "no handle", "long handle", "no pidfd"],
)
def test_a_record_that_contradicts_itself_is_refused(data):
    """
    Lengths are checked before anything is read by them, and nothing is read for ever.
    """
    with pytest.raises(DecodeError):
        parse(data)


@given(st.binary(max_size=400))
def test_no_input_escapes_as_another_error(data):
    """
    Whatever a kernel sends, the daemon counts it or understands it.
    """
    with contextlib.suppress(DecodeError):
        parse(data)


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
def test_no_changed_byte_escapes_as_another_error(place, value):
    """
    Near misses reach deeper into the parser than noise does.
    """
    data = bytearray(WHOLE)
    data[place] = value

    with contextlib.suppress(DecodeError):
        parse(bytes(data))
