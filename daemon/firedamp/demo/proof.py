# SPDX-License-Identifier: Apache-2.0
"""What can be looked at afterwards, by anybody: files, and whether a connection comes about."""

import hashlib
import os
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from firedamp.demo.network import POOL
from firedamp.demo.pool import PORT
from firedamp.demo.stage import Stage, real_interpreter

_CONNECT = f"""\
import socket
try:
    socket.create_connection(("{POOL}", {PORT}), timeout=2).close()
    print("accepted")
except OSError as error:
    print(error.strerror or "no answer")
"""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A file's content and all that is said of it, but for when it was read last."""

    sha256: str
    size: int
    mode: int
    owner: tuple[int, int]
    mtime_ns: int
    xattrs: tuple[tuple[str, bytes], ...]

    @classmethod
    def of(cls, path: Path) -> Self | None:
        """None where there is no such file."""
        try:
            status = path.lstat()
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        return cls(
            sha256=hashlib.sha256(content).hexdigest(),
            size=status.st_size,
            mode=stat.S_IMODE(status.st_mode),
            owner=(status.st_uid, status.st_gid),
            mtime_ns=status.st_mtime_ns,
            xattrs=tuple((name, os.getxattr(path, name)) for name in os.listxattr(path)),
        )


def tree(root: Path) -> dict[Path, Fingerprint]:
    """Every file below a directory."""
    found = ((path, Fingerprint.of(path)) for path in root.rglob("*") if path.is_file())
    return {path: print_ for path, print_ in found if print_ is not None}


def contents(files: Mapping[Path, Fingerprint]) -> dict[Path, str]:
    """Which files there are, and what is in them."""
    return {path: print_.sha256 for path, print_ in files.items()}


def connect_to_pool(stage: Stage) -> str:
    """Try it with a new process on the stage: `accepted`, or what the kernel says."""
    asking = stage.spawn(real_interpreter(), "-I", "-c", _CONNECT, stdout=subprocess.PIPE)
    answer, _ = asking.communicate(timeout=10)
    return answer.decode().strip()
