# SPDX-License-Identifier: Apache-2.0
"""Which paths are watched, and what kind of place each of them is.

Patterns become one tree of path components, so that two questions have short answers: what
place is this path (`place_of`), and which names below this directory matter (`PlaceNode`).
Reading ROOT/etc/passwd and ROOT/etc/ssh for the accounts' homes and key files is the only
look at the host; all else is plain computation.
"""

import fnmatch
import os
import re
from collections.abc import Iterable, Iterator

from firedamp.settings import Watch, WatchedPlace
from firedamp.sources.place_table import BUILT_IN

_WILDCARD = re.compile(r"[*?\[]")
_MAX_CONFIG_BYTES = 1 << 20


class PlaceNode:
    """One path component of the patterns, with what may follow it."""

    __slots__ = ("children", "globs", "home", "place")

    def __init__(self) -> None:
        self.place: str | None = None
        self.home: PlaceNode | None = None
        """What may follow because this is a home directory; one tree serves all homes."""
        self.children: dict[str, PlaceNode] = {}
        self.globs: dict[str, tuple[re.Pattern[str], PlaceNode]] = {}

    @property
    def has_entries(self) -> bool:
        """It is a directory whose entries are all of a place."""
        return "*" in self.globs and self.globs["*"][1].place is not None

    def child(self, component: str) -> "PlaceNode":
        """The node for a component of a pattern, made if it is new."""
        if not _WILDCARD.search(component):
            return self.children.setdefault(component, PlaceNode())
        if component not in self.globs:
            pattern = re.compile(fnmatch.translate(component), re.DOTALL)
            self.globs[component] = (pattern, PlaceNode())
        return self.globs[component][1]


Nodes = tuple[PlaceNode, ...]
Learned = tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...]
"""For each root, its homes and its key files."""


def step(nodes: Nodes, name: str) -> Nodes:
    """Where a name leads, the most exact pattern first; empty if nowhere."""
    found = [node.children[name] for node in nodes if name in node.children]
    matched = [
        (text, below)
        for node in nodes
        for text, (pattern, below) in node.globs.items()
        if pattern.match(name)
    ]
    if len(matched) > 1:
        matched.sort(key=lambda match: len(match[0]), reverse=True)
    found += [below for _, below in matched]
    found += [node.home for node in found if node.home]
    return tuple(dict.fromkeys(found)) if len(found) > 1 else tuple(found)


def place_at(nodes: Nodes) -> str | None:
    """The place that the most exact of the patterns names."""
    return next((node.place for node in nodes if node.place), None)


class Places:
    """All patterns of one configuration, expanded over its roots and their homes."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self.roots = tuple(os.path.normpath(root) for root in watch.roots)
        self._top = PlaceNode()
        self._learned: Learned = ()
        self.refresh()

    def refresh(self) -> bool:
        """Read the accounts again; of use when one of `account_files` has changed.

        Says whether that made a difference. If so, all `PlaceNode`s are new ones.
        """
        learned = tuple((root, _homes(root), tuple(_key_files(root))) for root in self.roots)
        if learned == self._learned:
            return False
        self._learned = learned
        self._top = PlaceNode()
        for root, homes, key_files in learned:
            self._add_root(root, homes, key_files)
        return True

    def _add_root(self, root: str, homes: tuple[str, ...], key_files: tuple[str, ...]) -> None:
        home = PlaceNode()
        for place, pattern in _patterns(self._watch.extra, key_files):
            if pattern.startswith("~/"):
                _add(home, pattern[2:], place)
            else:
                _add(self._top, _join(root, pattern), place)
        for path in homes:
            _reach(self._top, _join(root, path)).home = home

    @property
    def account_files(self) -> frozenset[str]:
        """Files from which homes and key places were learned."""
        names = ("/etc/passwd", "/etc/ssh/sshd_config")
        return frozenset(_join(root, name) for root in self.roots for name in names)

    def nodes(self, path: str) -> Nodes:
        """The patterns that a path is on the way to, or at the end of."""
        nodes: Nodes = (self._top,) if self._top.home is None else (self._top, self._top.home)
        for component in path.split("/"):
            if component:
                nodes = step(nodes, component)
        return nodes

    def place_of(self, path: str) -> str | None:
        """The kind of place that a path is, by the longest and most exact match."""
        return place_at(self.nodes(path))


def _patterns(extra: Iterable[WatchedPlace], key_files: Iterable[str]) -> Iterator[tuple[str, str]]:
    for watched in (*extra, *BUILT_IN):
        for path in watched.paths:
            yield watched.place, path
    for path in key_files:
        yield "ssh_keys", path


def _add(top: PlaceNode, path: str, place: str) -> None:
    node = _reach(top, path)
    # The first to name a path wins: what the administrator adds comes before the table.
    node.place = node.place or place
    if path.endswith("/"):
        entry = node.child("*")
        entry.place = entry.place or place


def _reach(node: PlaceNode, path: str) -> PlaceNode:
    for component in path.split("/"):
        if component:
            node = node.child(component)
    return node


def _join(root: str, path: str) -> str:
    return path if root == "/" else root + "/" + path.lstrip("/")


def _homes(root: str) -> tuple[str, ...]:
    """Home directories below a root: of its accounts, and those that new accounts will get."""
    homes = {"/root": None, "/home/*": None}
    for line in _lines(_join(root, "/etc/passwd")):
        fields = line.split(":")
        if len(fields) < 6 or not fields[5].startswith("/"):
            continue
        home = os.path.normpath(fields[5])
        if os.path.dirname(home) != "/home":
            homes[re.sub(r"([*?\[])", r"[\1]", home)] = None
    return tuple(homes)


def _key_files(root: str) -> Iterator[str]:
    """Where sshd looks for keys besides the usual places, as patterns."""
    directory = _join(root, "/etc/ssh/sshd_config.d")
    try:
        parts = sorted(name for name in os.listdir(directory) if name.endswith(".conf"))
    except OSError:
        parts = []
    files = [_join(root, "/etc/ssh/sshd_config"), *(f"{directory}/{name}" for name in parts)]
    for line in (line for file in files for line in _lines(file)):
        keyword, *values = line.replace("=", " ", 1).split() or [""]
        if keyword.lower() != "authorizedkeysfile":
            continue
        for value in values:
            path = value.strip('"').replace("%h", "~").replace("%u", "*").replace("%U", "*")
            if path != "none" and "%" not in path:
                yield path if path.startswith(("/", "~/")) else f"~/{path}"


def _lines(path: str) -> list[str]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return []
    with open(fd, "rb") as file:
        return os.fsdecode(file.read(_MAX_CONFIG_BYTES)).splitlines()
