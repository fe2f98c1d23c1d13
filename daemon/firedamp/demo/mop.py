# SPDX-License-Identifier: Apache-2.0
"""`python -m firedamp.demo.mop CGROUP DIRECTORY`: clears both away at the end of its input.

Whoever sets a stage holds the other end of the pipe. The kernel closes it however they end, so
that nothing of a stage outlives them even after SIGKILL. Where all is gone by then, nothing is
done.
"""

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from firedamp.demo.cell import remove

_PATIENCE_S: Final = 30.0
"""A daemon that ends with its stage writes to the directory until it has ended."""


class Mop:
    """The process that does it, as whoever sets a stage holds it."""

    def __init__(self, group: Path, directory: Path) -> None:
        command = [sys.executable, "-I", "-m", "firedamp.demo.mop", str(group), str(directory)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def close(self) -> None:
        """Let it see that all is gone."""
        self._process.communicate()


def main(group: Path, directory: Path) -> None:
    """Wait, then remove the group with all who are in it, and the directory."""
    sys.stdin.buffer.read()
    remove(group)
    until = time.monotonic() + _PATIENCE_S
    while directory.exists() and time.monotonic() < until:
        shutil.rmtree(directory, ignore_errors=True)
        time.sleep(0.1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
