# SPDX-License-Identifier: Apache-2.0
"""Takes secrets out of what is recorded.

Rule 1. What is taken out is replaced by `***`, in place: the option, the name and the number of
        arguments stay, so that policies match as they did on the host. A policy that is about
        the secret itself does not.
Rule 2. Command lines come from anybody: the expressions are RE2's, which take time linear in the
        text, whatever they say.

Blind spots: a secret that stands by itself, such as the second argument of a program that expects
one there; what follows a space in one; whatever looks like no secret. Names of files are not
masked.
"""

import os
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

import re2  # type: ignore[import-untyped]

from firedamp.errors import ConfigError
from firedamp.events.model import Event, FileChanged, PayloadSeen, ProcessExecuted

MASK: Final = b"***"
_WORD: Final = (
    r"(?:pass(?:word|wd|phrase)?|pwd|secret|token|credential"
    r"|api[_-]?key|access[_-]?key|private[_-]?key)s?"
)
BUILT_IN: Final = (
    # --password=hunter2, --password hunter2, --db-pass hunter2
    rf"(?i)(?:^|\s)--?(?:[\w-]*[_-])?{_WORD}(?:[_-][\w-]*)?(?:=|\s+)(\S+)",
    # PGPASSWORD=hunter2, token: hunter2, "api_key": "hunter2", ?access_token=hunter2&
    rf"(?i){_WORD}[\w-]*[\"']?\s*[=:]\s*[\"']?([^\s\"'&;]+)",
    # mysql -phunter2, sshpass -p hunter2
    r"(?:^|[\s/])(?:mysql|mariadb)(?:-?dump|-?admin)?\s(?:.*?\s)?-p(\S+)",
    r"(?:^|[\s/])sshpass\s(?:.*?\s)?-p\s*(\S+)",
    # https://user:hunter2@host/
    r"://[^\s/:@]*:([^\s/@]+)@",
    # curl -u user:hunter2, wget --user=name:hunter2
    r"(?:^|\s)(?:-u|--user)[\s=]*[^\s:]+:(\S+)",
    # Authorization: Bearer hunter2
    r"(?i)authorization\s*[=:]\s*[\"']?(?:(?:basic|bearer|digest|token)\s+)?([^\s\"']+)",
    # Access keys of AWS
    r"\b((?:AKIA|ASIA)[0-9A-Z]{16})\b",
)
"""In RE2's syntax, over bytes. The first group is the secret; without a group, all of it is."""

Span = tuple[int, int]


class Masks:
    """Patterns, and what they make of events."""

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        """`patterns` are looked for besides the built-in ones.

        Raises:
            ConfigError: one of them is no expression of RE2's.
        """
        self._patterns = [_compiled(one) for one in (*BUILT_IN, *patterns)]
        # Servers run the same few command lines over and over.
        self._arguments = lru_cache(maxsize=2048)(self.arguments)

    def event(self, event: Event) -> Event:
        """The event without secrets; the same object where it has none."""
        if isinstance(event, ProcessExecuted):
            argv = self._arguments(event.argv)
            return event if argv == event.argv else replace(event, argv=argv)
        if isinstance(event, FileChanged) and event.added_lines:
            lines = tuple(self.arguments((one,))[0] for one in event.added_lines)
            return event if lines == event.added_lines else replace(event, added_lines=lines)
        if isinstance(event, PayloadSeen) and b"uthorization" in event.data:
            return replace(event, data=self._payload(event.data))
        return event

    def arguments(self, argv: tuple[str, ...]) -> tuple[str, ...]:
        """The arguments without secrets, as many as they were."""
        if not argv:
            return argv
        raw = [os.fsencode(one) for one in argv]
        spans = self._spans(b" ".join(raw))
        if not spans:
            return argv
        masked, start = [], 0
        for one in raw:
            end = start + len(one)
            inside = [(max(a, start) - start, min(b, end) - start) for a, b in spans]
            masked.append(os.fsdecode(_without(one, [(a, b) for a, b in inside if a < b])))
            start = end + 1
        return tuple(masked)

    def _spans(self, text: bytes) -> list[Span]:
        """Where secrets are, in order and apart from one another."""
        found = []
        for pattern in self._patterns:
            for match in pattern.finditer(text):
                start, end = match.span(1 if match.re.groups else 0)
                if start < end:
                    found.append((start, end))
        apart: list[Span] = []
        for start, end in sorted(found):
            if apart and start <= apart[-1][1]:
                apart[-1] = (apart[-1][0], max(end, apart[-1][1]))
            else:
                apart.append((start, end))
        return apart

    def _payload(self, data: bytes) -> bytes:
        """As long as it was: what follows is counted from it."""
        masked = bytearray(data)
        for start, end in self._spans(data):
            masked[start:end] = b"*" * (end - start)
        return bytes(masked)


def why_not(pattern: str) -> str:
    """What is wrong with a pattern; empty if nothing is."""
    try:
        _compiled(pattern)
    except ConfigError as error:
        return str(error)
    return ""


def _without(text: bytes, spans: list[Span]) -> bytes:
    for start, end in reversed(spans):
        text = text[:start] + MASK + text[end:]
    return text


def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.encoding = re2.Options.Encoding.LATIN1  # bytes: command lines need not be text
    try:
        return re2.compile(os.fsencode(pattern), options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        reason = reason.decode(errors="replace") if isinstance(reason, bytes) else reason
        raise ConfigError(f"not a regular expression: {reason}") from error
