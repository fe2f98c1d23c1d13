# SPDX-License-Identifier: Apache-2.0
"""Policy files, from directories to YAML documents with lines."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from firedamp.strict_yaml import Document, Limits, Problem, YamlError, YamlPath, load_all, read

LIMITS: Final = Limits(size_bytes=1 << 20, depth=24, nodes=50_000, aliases=64, documents=64)
MAX_FILES: Final = 20_000
_SUFFIXES: Final = (".yml", ".yaml")
_NOT_POLICIES: Final = frozenset({"indicators"})
"""Directories beside policies that hold other things."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A directory of policies, or one file; what a later place holds replaces the same id."""

    path: Path
    shipped: bool = False
    """Comes with the daemon: held to prove itself by tests and to be complete."""
    optional: bool = False
    """May be missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One document of one file."""

    document: Document
    data: dict[str, Any]
    place: int
    """Index of the place that it comes from."""
    shipped: bool
    alone: bool
    """It is the only document of its file."""

    @property
    def path(self) -> str:
        return self.document.file

    def problem(self, path: YamlPath, text: str) -> Problem:
        return self.document.problem(path, text)


@dataclass(slots=True)
class Files:
    """All documents of all places, and what is wrong with files as such."""

    sources: list[Source] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    digest: str = ""


def read_places(places: Iterable[Place]) -> Files:
    """Read every policy file, collecting problems instead of stopping at the first."""
    files = Files()
    hashed = hashlib.blake2s(digest_size=16)
    for index, place in enumerate(places):
        for path in _paths(place, files):
            try:
                text = read(path, limits=LIMITS)
                hashed.update(text.encode() + b"\0")
                documents = load_all(text, file=str(path), limits=LIMITS)
            except YamlError as error:
                files.problems.extend(error.problems)
            except OSError as error:
                files.problems.append(_unreadable(path, error))
            else:
                _add(files, documents, index, place)
    files.digest = hashed.hexdigest()
    return files


def _add(files: Files, documents: tuple[Document, ...], index: int, place: Place) -> None:
    filled = [one for one in documents if one.data is not None]
    for document in filled:
        if not isinstance(document.data, dict):
            files.problems.append(document.problem((), "a policy is a map: `key: value`"))
            continue
        files.sources.append(
            Source(
                document=document,
                data=document.data,
                place=index,
                shipped=place.shipped,
                alone=len(filled) == 1,
            )
        )


def _paths(place: Place, files: Files) -> Iterator[Path]:
    if place.path.is_file():
        yield place.path
        return
    if not place.path.is_dir():
        if not place.optional:
            files.problems.append(_whole(place.path, "there is no such directory"))
        return
    found = sorted(_walk(place.path))
    if len(found) > MAX_FILES:
        files.problems.append(_whole(place.path, f"holds more than {MAX_FILES} policies"))
        return
    yield from found


def _walk(directory: Path) -> Iterator[Path]:
    for folder, below, names in os.walk(directory):
        below[:] = [one for one in below if not one.startswith(".") and one not in _NOT_POLICIES]
        for name in names:
            if name.endswith(_SUFFIXES) and not name.startswith("."):
                yield Path(folder, name)


def _unreadable(path: Path, error: OSError) -> Problem:
    return _whole(path, f"cannot be read: {error.strerror}")


def _whole(path: Path, text: str) -> Problem:
    return Problem(file=str(path), line=0, path=(), text=text)
