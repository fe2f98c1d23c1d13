# SPDX-License-Identifier: Apache-2.0
"""What a path of another mount namespace is called in ours.

A service with a /tmp of its own and a container see files under names that mean something
else, or nothing, to us. The file is often there for us too, below another mount of the same
file system: `/tmp/x` of redis is `/tmp/systemd-private-…-redis.service-…/tmp/x`. Names found
here are guesses: whoever uses one compares the inode.
"""

import posixpath
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_ESCAPED = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """One line of /proc/PID/mountinfo."""

    device: str
    """major:minor of the file system."""
    root: str
    """Which directory of the file system is mounted."""
    point: str
    """Where it is mounted."""


def parse(mountinfo: str) -> tuple[Mount, ...]:
    """Read /proc/PID/mountinfo; lines of another form are left out."""
    fields = (line.split(" ") for line in mountinfo.splitlines())
    return tuple(
        Mount(one[2], _unescape(one[3]), _unescape(one[4])) for one in fields if len(one) > 5
    )


def names_here(path: str, theirs: Iterable[Mount], ours: Iterable[Mount]) -> Iterator[str]:
    """Under which of our mounts the file at their `path` lies, if it is not hidden there."""
    # Of two mounts at one point the later lies on top.
    covering = [mount for mount in theirs if _below(path, mount.point) is not None]
    if not covering:
        return
    deepest = max(reversed(covering), key=lambda mount: len(mount.point))
    inside = posixpath.join(deepest.root, _below(path, deepest.point) or "")
    for mount in ours:
        rest = _below(inside, mount.root) if mount.device == deepest.device else None
        if rest is not None:
            yield posixpath.join(mount.point, rest)


def _below(path: str, directory: str) -> str | None:
    """`path` from `directory` on; None where it is not below it."""
    prefix = directory.rstrip("/") + "/"
    return path[len(prefix) :] if path.startswith(prefix) else None


def _unescape(text: str) -> str:
    return _ESCAPED.sub(lambda code: chr(int(code[1], 8)), text)
