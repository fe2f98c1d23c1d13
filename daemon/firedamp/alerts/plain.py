# SPDX-License-Identifier: Apache-2.0
"""Text that an attacker may have chosen, made safe to show to a person.

File names, arguments and names of processes come as they were given: with terminal escapes
that recolour or rewrite what stands before them, line breaks that forge a second entry,
characters that reverse the direction of writing, or bytes that are no text at all.
"""

import re
from typing import Final

_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def plain(value: object, *, limit: int = 200) -> str:
    r"""One line of printable text; what cannot be printed is shown as `\x1b`, `\u202e`.

    Longer than `limit` characters, it is cut and ends in an ellipsis.
    """
    text = value if isinstance(value, str) else str(value)
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return text if text.isprintable() else "".join(map(_visible, text))


def unicode_text(text: str) -> str:
    r"""The same text without surrogates, which JSON and UTF-8 cannot carry.

    A byte that is no UTF-8 (see `os.fsdecode`) is written as `\xff`, a surrogate from
    elsewhere as `\ud800`. Everything else stays, so that it can be compared.
    """
    return text if text.isascii() else _SURROGATE.sub(lambda found: _visible(found[0]), text)


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    number = ord(character)
    # What os.fsdecode makes of a byte that is no UTF-8.
    if 0xDC80 <= number <= 0xDCFF:
        number -= 0xDC00
    if number <= 0xFF:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"
