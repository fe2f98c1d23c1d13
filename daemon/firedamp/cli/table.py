# SPDX-License-Identifier: Apache-2.0
"""Rows of text as a table that fits the terminal."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import Final

_GAP: Final = 2
_NARROWEST: Final = 8


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, width: int) -> Iterator[str]:
    """Lines of a table; cells are broken into lines where the width is too small.

    The columns that want most give most; none becomes narrower than 8 characters.
    """
    wanted = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    widths = _fit(wanted, width - _GAP * (len(wanted) - 1))
    yield from _lines(header, widths)
    yield (" " * _GAP).join("-" * one for one in widths)
    for row in rows:
        yield from _lines(row, widths)


def _fit(wanted: Sequence[int], room: int) -> list[int]:
    """Share the room: who wants less than an equal share gets it, the others share the rest."""
    widths = [0] * len(wanted)
    left = sorted(range(len(wanted)), key=wanted.__getitem__)
    while left:
        share = max(_NARROWEST, room // len(left))
        index = left.pop(0)
        widths[index] = min(wanted[index], share)
        room -= widths[index]
    return widths


def _lines(cells: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    wrapped = [textwrap.wrap(cell, one) or [""] for cell, one in zip(cells, widths, strict=True)]
    for number in range(max(map(len, wrapped))):
        parts = [
            (lines[number] if number < len(lines) else "").ljust(one)
            for lines, one in zip(wrapped, widths, strict=True)
        ]
        yield (" " * _GAP).join(parts).rstrip()
