# SPDX-License-Identifier: Apache-2.0
"""The one way in for YAML that people write: strict, bounded, and every value has a line.

It takes less than YAML allows, so that a file means what it seems to say:

    a key stands once in a map, and keys are text as written (`yes:` is "yes", `1:` is "1");
    only true and false are booleans: yes, no, on and off are text;
    numbers are decimal; 0777, 0x1f, 12:30:45, 1e3 and 2026-01-01 are text as written;
    no tags, no merge keys; anchors may be used, but not to blow a file up;
    size, depth, number of values, of aliases and of documents have limits.

Values come as dict, list, str, int, float, bool and None. Building them is iterative, so no
input exhausts the stack, and stops at the first limit that is met.
"""

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import yaml

from firedamp.errors import FiredampError

YamlPath = tuple[str | int, ...]
"""Where a value stands: keys of maps and indices of lists, from the top."""

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL: Final = {
    "true": True, "True": True, "TRUE": True,
    "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_INT: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,39})")
_FLOAT: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,39})\.[0-9]{1,40}(?:[eE][-+]?[0-9]{1,3})?")
_PLAIN_TAGS: Final = frozenset({None, "!"} | {f"tag:yaml.org,2002:{k}" for k in ("map", "seq")})


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a file may cost before it is refused."""

    size_bytes: int = 1 << 20
    depth: int = 32
    nodes: int = 50_000
    """Values and keys, each counted as often as aliases repeat it."""
    aliases: int = 64
    documents: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong, and where."""

    file: str
    line: int
    """From 1; 0 where the file as a whole is meant."""
    path: YamlPath
    text: str

    def __str__(self) -> str:
        key = f"{dotted(self.path)}: " if self.path else ""
        line = f"{self.line}:" if self.line else ""
        return f"{self.file}:{line} {key}{self.text}"


class YamlError(FiredampError):
    """A file is not YAML as we take it. Whoever reads it says what that means for him.

    The text holds all problems, one a line.
    """

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The values of one document, and where each stands."""

    data: object
    file: str
    lines: Mapping[YamlPath, int]

    def line_of(self, path: YamlPath) -> int:
        """The line on which the key or list item stands.

        For a path that is not in the file, that of the nearest value around it.
        """
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def problem(self, path: YamlPath, text: str) -> Problem:
        return Problem(file=self.file, line=self.line_of(path), path=path, text=text)


def dotted(path: YamlPath) -> str:
    """The path as people write it: `watch.extra[0].place`."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in path]
    return "".join(parts).removeprefix(".")


def load(text: str, *, file: str, limits: Limits = Limits()) -> Document:
    """Read a file of one document; an empty one holds None.

    Raises:
        YamlError: it is not YAML as we take it.
    """
    documents = load_all(text, file=file, limits=replace(limits, documents=1))
    return documents[0] if documents else Document(data=None, file=file, lines={})


def load_all(text: str, *, file: str, limits: Limits) -> tuple[Document, ...]:
    """Read a file of up to `limits.documents` documents.

    Raises:
        YamlError: it is not YAML as we take it.
    """
    if len(text) > limits.size_bytes or len(text.encode(errors="replace")) > limits.size_bytes:
        raise _whole(file, f"larger than {limits.size_bytes} bytes")
    builder = _Builder(file=file, limits=limits)
    try:
        for event in _events(text):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = " ".join(part for part in (error.context, error.problem) if part)
        line = mark.line + 1 if mark else 0
        raise YamlError(Problem(file=file, line=line, path=(), text=reason)) from error
    except (yaml.YAMLError, UnicodeError) as error:
        raise _whole(file, f"not text: {error}".splitlines()[0]) from error
    if builder.problems:
        raise YamlError(*builder.problems)
    return tuple(builder.documents)


def read(path: Path, *, limits: Limits = Limits()) -> str:
    """The text of a regular file.

    Raises:
        YamlError: it is larger than the limit, or not UTF-8, or not a regular file.
        OSError: it cannot be read.
    """
    # A FIFO must not hold up the daemon's start.
    with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise _whole(str(path), "not a regular file")
        content = stream.read(limits.size_bytes + 1)
    if len(content) > limits.size_bytes:
        raise _whole(str(path), f"larger than {limits.size_bytes} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problem = Problem(file=str(path), line=line, path=(), text="not UTF-8")
        raise YamlError(problem) from error


def scalar(text: str) -> object:
    """What an unquoted scalar means."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _events(text: str) -> Iterator[yaml.Event]:
    return iter(yaml.parse(text, Loader=_LOADER))


def _whole(file: str, text: str) -> YamlError:
    return YamlError(Problem(file=file, line=0, path=(), text=text))


@dataclass(slots=True, eq=False)
class _Open:
    """A map or list whose end has not come yet."""

    value: dict[str, object] | list[object]
    path: YamlPath
    anchor: str | None
    first_node: int
    """How many nodes had been counted before it."""
    key: str | None = None
    """Of a map: the key whose value comes next."""
    key_lines: dict[str, int] = field(default_factory=dict)


class _Builder:
    def __init__(self, *, file: str, limits: Limits) -> None:
        self.documents: list[Document] = []
        self.problems: list[Problem] = []
        self._file = file
        self._limits = limits
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[object, int]] = {}
        self._lines: dict[YamlPath, int] = {}
        self._root: object = None
        self._nodes = 0
        self._aliases = 0
        self._steps: dict[type[yaml.Event], Callable[..., None]] = {
            yaml.DocumentStartEvent: self._start_document,
            yaml.DocumentEndEvent: self._end_document,
            yaml.MappingStartEvent: self._open_map,
            yaml.SequenceStartEvent: self._open_list,
            yaml.MappingEndEvent: self._close,
            yaml.SequenceEndEvent: self._close,
            yaml.ScalarEvent: self._scalar,
            yaml.AliasEvent: self._alias,
        }

    def take(self, event: yaml.Event) -> None:
        step = self._steps.get(type(event))
        if step:
            step(event, event.start_mark.line + 1 if event.start_mark else 0)

    def _start_document(self, _event: yaml.Event, line: int) -> None:
        if len(self.documents) >= self._limits.documents:
            raise self._refusal(line, f"more than {self._limits.documents} document(s) in the file")
        self._anchors, self._lines, self._root = {}, {(): line}, None

    def _end_document(self, _event: yaml.Event, _line: int) -> None:
        self.documents.append(Document(data=self._root, file=self._file, lines=self._lines))

    def _open_map(self, event: yaml.MappingStartEvent, line: int) -> None:
        self._open({}, event, line)

    def _open_list(self, event: yaml.SequenceStartEvent, line: int) -> None:
        self._open([], event, line)

    def _open(
        self, value: dict[str, object] | list[object], event: yaml.CollectionStartEvent, line: int
    ) -> None:
        self._check(event, line)
        if len(self._stack) >= self._limits.depth:
            raise self._refusal(line, f"nested more than {self._limits.depth} deep")
        first = self._nodes
        path = self._place(value, line)
        if event.anchor:
            self._anchors.pop(event.anchor, None)
        self._stack.append(_Open(value, path, event.anchor, first))

    def _close(self, _event: yaml.Event, _line: int) -> None:
        closed = self._stack.pop()
        if closed.anchor:
            self._anchors[closed.anchor] = (closed.value, self._nodes - closed.first_node)

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> None:
        self._check(event, line)
        top = self._stack[-1] if self._stack else None
        if top and isinstance(top.value, dict) and top.key is None:
            self._key(top, event, line)
            return
        # An explicit `!!str` leaves both flags unset, quotes leave the first.
        value = scalar(event.value) if event.implicit[0] else event.value
        if event.anchor:
            self._anchors[event.anchor] = (value, 1)
        self._place(value, line)

    def _key(self, top: _Open, event: yaml.ScalarEvent, line: int) -> None:
        key = str(event.value)
        if key == "<<" and event.implicit[0]:
            raise self._refusal(line, "merge keys (<<) are not supported: write the keys out")
        if event.anchor:
            self._anchors[event.anchor] = (key, 1)
        self._count(line)
        path = (*top.path, key)
        if key in top.key_lines:
            text = f"stands twice in the same map, first on line {top.key_lines[key]}"
            self.problems.append(Problem(file=self._file, line=line, path=path, text=text))
        else:
            top.key_lines[key] = self._lines[path] = line
        top.key = key

    def _alias(self, event: yaml.AliasEvent, line: int) -> None:
        self._aliases += 1
        if self._aliases > self._limits.aliases:
            raise self._refusal(line, f"more than {self._limits.aliases} aliases")
        if event.anchor not in self._anchors:
            raise self._refusal(line, f"*{event.anchor} has no anchor before it")
        value, weight = self._anchors[event.anchor]
        self._place(value, line, weight=weight)

    def _place(self, value: object, line: int, *, weight: int = 1) -> YamlPath:
        """Put a value where it belongs, and say where that is."""
        self._count(line, weight)
        if not self._stack:
            self._root = value
            return ()
        top = self._stack[-1]
        if isinstance(top.value, list):
            path = (*top.path, len(top.value))
            self._lines[path] = line
            top.value.append(value)
            return path
        if top.key is None:
            raise self._refusal(line, "a key must be text")
        path = (*top.path, top.key)
        top.value.setdefault(top.key, value)
        top.key = None
        return path

    def _check(self, event: yaml.NodeEvent, line: int) -> None:
        tag = getattr(event, "tag", None)
        if tag not in _PLAIN_TAGS and tag != "tag:yaml.org,2002:str":
            raise self._refusal(line, f"tags are not supported: {tag}")

    def _count(self, line: int, weight: int = 1) -> None:
        self._nodes += weight
        if self._nodes > self._limits.nodes:
            raise self._refusal(line, f"more than {self._limits.nodes} values")

    def _refusal(self, line: int, text: str) -> YamlError:
        path: YamlPath = ()
        if self._stack:
            top = self._stack[-1]
            here = len(top.value) if isinstance(top.value, list) else top.key
            path = top.path if here is None else (*top.path, here)
        problem = Problem(file=self._file, line=line, path=path, text=text)
        return YamlError(*self.problems, problem)
