# SPDX-License-Identifier: Apache-2.0
"""Segments back to a stream: what was sent, once, and gaps where it is not known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firedamp.analysis.reassembly import GAP, WAITING_BYTES, Reassembly

STREAM = bytes(range(256)) * 4
WRAP = 1 << 32


def run(segments, *, start: int = 1, in_order: bool = False) -> list:
    """Feed (offset, length, bytes kept) of the stream; what comes out, pieces joined."""
    reassembly, out = Reassembly(), []
    for at, length, kept in segments:
        for piece in reassembly.feed(
            sequence=(start + at) % WRAP,
            length=length,
            data=STREAM[at : at + kept],
            in_order=in_order,
        ):
            if out and piece is not GAP and out[-1] is not GAP:
                out[-1] += piece
            else:
                out.append(piece)
    return out


def whole(*segments):
    """Segments of which every byte was kept."""
    return [(at, length, length) for at, length in segments]


@pytest.mark.parametrize("start", [0, 1, WRAP - 1, WRAP - 30, WRAP // 2 - 20])
@pytest.mark.parametrize(
    "segments",
    [
        [(0, 20), (20, 40)],
        [(0, 20), (0, 20), (20, 40), (20, 40), (0, 60)],
        [(0, 20), (10, 30), (30, 30)],
        [(0, 20), (20, 20), (0, 20), (20, 20), (40, 20)],
        [(0, 20), (5, 55)],
        [(0, 20), (40, 20), (20, 20)],
        [(0, 10), (40, 20), (20, 20), (10, 10)],
        [(0, 20), (40, 20), (10, 40)],
    ],
)
def test_stream_comes_out_as_it_was_sent(segments, start):
    """
    Retransmitted, overlapping and swapped, wherever the numbers begin.
    """
    assert run(whole(*segments), start=start) == [STREAM[:60]]


@given(st.integers(0, WRAP - 1), st.randoms(use_true_random=False), st.data())
def test_any_repetition_changes_nothing(start, random, data):
    """
    Whatever is sent again of what was sent before, the stream is the same.
    """
    cuts = sorted(data.draw(st.sets(st.integers(1, len(STREAM) - 1), max_size=8)))
    segments, begin = [], 0
    for end in [*cuts, len(STREAM)]:
        segments.append((begin, end - begin))
        for _ in range(random.randrange(3)):
            again = random.randrange(end)
            segments.append((again, random.randrange(1, end - again + 1)))
        begin = end

    assert run(whole(*segments), start=start) == [STREAM]


def test_bytes_that_were_not_copied_leave_a_gap():
    """
    The kernel side keeps the beginning of a long segment.
    """
    assert run([(0, 50, 20), (50, 10, 10)]) == [STREAM[:20], GAP, STREAM[50:60]]


def test_missing_segment_is_given_up_when_the_room_is_full():
    """
    Three may wait for it; the fourth says that it will not come.
    """
    late = [(at, 10, 10) for at in (20, 40, 30)]

    assert run([(0, 10, 10), *late]) == [STREAM[:10]]
    assert run([(0, 10, 10), *late, (50, 10, 10)]) == [STREAM[:10], GAP, STREAM[20:60]]


def test_nothing_waits_where_nothing_can_be_late():
    """
    What this host sends is seen in its order: what is missing was lost on the way to us.
    """
    segments = [(0, 10, 10), (20, 10, 10)]

    assert run(segments, in_order=True) == [STREAM[:10], GAP, STREAM[20:30]]


def test_what_waits_is_bounded_in_bytes():
    """
    Large segments do not wait for long.
    """
    reassembly = Reassembly()
    for sequence in (1, 10_000):
        data = b"x" * WAITING_BYTES
        list(reassembly.feed(sequence=sequence, length=len(data), data=data, in_order=False))

    assert reassembly.held == 0


def test_numbers_from_elsewhere_begin_another_stream():
    """
    The same socket can be connected anew.
    """
    assert run([(0, 20, 20)], start=1)[0] == STREAM[:20]
    reassembly = Reassembly()
    list(reassembly.feed(sequence=1, length=5, data=b"first", in_order=True))

    again = reassembly.feed(sequence=WRAP // 2 + 9, length=6, data=b"second", in_order=True)

    assert list(again) == [GAP, b"second"]
