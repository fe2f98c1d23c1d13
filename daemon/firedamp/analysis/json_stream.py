# SPDX-License-Identifier: Apache-2.0
"""Finding JSON messages in a stream of text: one a line, or in the body of an HTTP request.

Rules:

1. A message ends where its brackets close, or else at the end of its line: an object that is
   followed by another, by HTTP headers or by nothing is complete all the same.
2. What comes out does not depend on how the stream was cut into pieces.
3. A message that is cut, by a gap, by its own mistakes or by its length, is read as far as it
   goes.
4. Nothing raises, and no more than MAX_LINE bytes are held.
"""

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

MAX_LINE = 8_192
"""Longer than any message of a mining protocol but a Bitcoin job with a deep Merkle tree, which
is then read as far as it goes."""
_BLANK = b" \t\r\n"
_DECODER = json.JSONDecoder(strict=False)
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+|"')
_MAX_DEPTH = 32
_CLOSING = {"{": "}", "[": "]"}


class Message(NamedTuple):
    """A JSON object or array."""

    value: object


class TextLine(NamedTuple):
    """A line that holds no JSON: of HTTP, or of a protocol that is nobody's business."""

    text: str


class JsonStream:
    """One direction of a conversation."""

    __slots__ = ("_buffer", "_is_skipping")

    def __init__(self) -> None:
        self._buffer = b""
        self._is_skipping = False

    @property
    def held(self) -> int:
        """Bytes that are kept until more come."""
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[Message | TextLine]:
        """Take the next bytes; give what they complete."""
        for at in range(0, len(data), MAX_LINE):
            self._buffer += data[at : at + MAX_LINE]
            yield from self._complete()

    def _complete(self) -> Iterator[Message | TextLine]:
        while True:
            self._buffer = self._buffer.lstrip(_BLANK)
            if not self._buffer or not self._skip():
                return
            newline = self._buffer.find(b"\n", 0, MAX_LINE + 1)
            line = self._buffer[: newline if newline >= 0 else MAX_LINE]
            is_json = line[:1] in (b"{", b"[")
            whole = _decode(line) if is_json else None
            if whole is not None:
                message, length = whole
                self._buffer = self._buffer[length:]
                yield message
                continue
            if newline < 0 and len(self._buffer) <= MAX_LINE:
                return
            self._buffer = self._buffer[len(line) :]
            self._is_skipping = newline < 0
            yield from _read_cut(line) if is_json else (TextLine(line.decode("latin-1").strip()),)

    def gap(self) -> Iterator[Message | TextLine]:
        """Some bytes are missing here; give what can be made of those before."""
        line, self._buffer = self._buffer, b""
        self._is_skipping = False
        if line[:1] in (b"{", b"["):
            yield from _read_cut(line[:MAX_LINE])

    def _skip(self) -> bool:
        """Pass over the rest of a line that was too long; False where it goes on."""
        if self._is_skipping:
            newline = self._buffer.find(b"\n")
            self._is_skipping = newline < 0
            self._buffer = self._buffer[newline + 1 :] if newline >= 0 else b""
        return not self._is_skipping


def _decode(line: bytes) -> tuple[Message, int] | None:
    # Latin-1 keeps one character a byte, so that positions are those of the bytes.
    try:
        value, end = _DECODER.raw_decode(line.decode("latin-1"))
    except (ValueError, RecursionError):
        return None
    return Message(value), end


def _read_cut(line: bytes) -> Iterator[Message]:
    try:
        yield Message(_DECODER.decode(close_cut(line.decode("latin-1"))))
    except (ValueError, RecursionError):
        return


def close_cut(text: str) -> str:
    """Make JSON of the beginning of JSON: all members that are whole, and the brackets closed."""
    open_brackets: list[str] = []
    whole, closing = 0, ""
    previous = ""
    for token in _TOKEN.finditer(text):
        kind = token[0][0]
        if token[0] == '"' or len(open_brackets) > _MAX_DEPTH:
            break  # a string that goes on; or nothing that anyone means
        if kind in "{[":
            open_brackets.append(kind)
            is_whole = True  # {} and [] are, whatever was to come
        elif kind in "}]":
            if not open_brackets or _CLOSING[open_brackets.pop()] != kind:
                break
            is_whole = True
        elif kind in ",:":
            is_whole = False
        else:  # a value: but a name that waits for its value is not, nor a number that may go on
            is_whole = (previous == ":" or open_brackets[-1:] == ["["]) and (
                kind == '"' or token.end() < len(text)
            )
        if is_whole:
            whole = token.end()
            closing = "".join(_CLOSING[each] for each in reversed(open_brackets))
        if not open_brackets:
            break
        previous = kind
    return text[:whole] + closing
