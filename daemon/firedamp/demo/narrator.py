# SPDX-License-Identifier: Apache-2.0
"""Tells the demo: short lines, coloured only on a terminal."""

import shutil
import textwrap
from collections.abc import Mapping
from typing import Final, TextIO

from firedamp.alerts.plain import plain

_WIDTH: Final = 120
_COLOURS: Final[Mapping[str, str]] = {
    "critical": "1;31",
    "high": "31",
    "medium": "33",
    "low": "36",
    "step": "1",
    "dim": "2",
    "yes": "32",
    "no": "1;31",
}


class Narrator:
    """Writes at once, so that the story is told at the pace at which it happens."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._colour = stream.isatty()
        columns = shutil.get_terminal_size().columns if self._colour else _WIDTH
        self._width = max(60, min(_WIDTH, columns))
        self._steps = 0
        self.short: dict[str, str] = {}
        """What to say instead of some longer texts."""
        self.failures: list[str] = []
        """What was expected and did not come true."""

    def line(self, text: str = "", colour: str = "") -> None:
        """A sentence that begins at the margin."""
        self._tell(text, "", colour)

    def step(self, text: str) -> None:
        """What the attack does next."""
        self._steps += 1
        self._tell(text, f"\n{self._steps}. ", "step")

    def aside(self, text: str) -> None:
        """What the reader should know about a step."""
        self._tell(text, "   ", "dim")

    def alert(self, level: str, text: str) -> None:
        """What firedamp says."""
        self._tell(text, f"   {level.upper():<8} ", level)

    def action(self, after_ms: float, text: str) -> None:
        """What firedamp does, and when."""
        self._tell(text, f"  {after_ms:>+8.1f} ms  ", "")

    def fact(self, *, holds: bool, text: str) -> None:
        """Something that the reader can check; if it does not hold, the demo has failed."""
        if not holds:
            self.failures.append(text)
        self._tell(text, "   yes  " if holds else "   NO   ", "yes" if holds else "no")

    def _tell(self, text: str, label: str, colour: str) -> None:
        for long, short in self.short.items():
            text = text.replace(long, short)
        margin = label.rpartition("\n")[2]
        lines = textwrap.wrap(
            plain(text, limit=1000),
            self._width,
            initial_indent=margin,
            subsequent_indent=" " * len(margin),
            break_long_words=False,
            break_on_hyphens=False,
        )
        if label.startswith("\n"):
            self._stream.write("\n")
        for number, line in enumerate(lines or [""]):
            self._stream.write(self._painted(line, len(margin) if number == 0 else 0, colour))
        self._stream.flush()

    def _painted(self, line: str, label: int, colour: str) -> str:
        """Paints the label, or all of a line whose label is blank."""
        code = _COLOURS.get(colour)
        if not self._colour or not code:
            return f"{line}\n"
        if line[:label].strip() and colour != "step":
            return f"\x1b[{code}m{line[:label]}\x1b[0m{line[label:]}\n"
        whole = colour in {"step", "dim"}
        return f"\x1b[{code}m{line}\x1b[0m\n" if whole else f"{line}\n"
