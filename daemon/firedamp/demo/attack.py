# SPDX-License-Identifier: Apache-2.0
"""The attack, step by step: each waits for its cue, so that it can be told as it happens."""

import http.client
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Final, Literal

from firedamp.demo.stage import Stage, real_interpreter

Cue = Literal["persist", "settle", "login", "return"]
CUES: Final[tuple[Cue, ...]] = ("persist", "settle", "login", "return")

_PIECES_DIR: Final = Path(__file__).with_name("pieces")
_PIECES: Final = ("dropper.sh", "watchdog.sh", "miner.py")
_WEB: Final = ("127.0.0.1", 8080)


class Attack:
    """A web application with a hole, and a stranger who has found it."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._cues: dict[Cue, int] = {}
        self.miner = stage.directory / ".x" / "worker"
        self.disguised = stage.directory / ".x" / "kswapd0"
        self.dropper = stage.directory / "dropper.sh"

    def open_shop(self) -> int:
        """Start the web application, before the daemon: returns its PID once it answers.

        Raises:
            OSError: it does not.
        """
        directory = self._stage.directory
        (directory / "cues").mkdir()
        for cue in CUES:
            path = directory / "cues" / cue
            os.mkfifo(path)
            # Open at both ends: nobody waits for us, and nobody is left waiting when we are gone.
            self._cues[cue] = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        # Copies: what a process on the stage runs may be taken away from it.
        for name in _PIECES:
            shutil.copy(_PIECES_DIR / name, directory)
        # Without a file of its own, so that none of ours can be taken for a part of the attack.
        module = (sys.executable, "-I", "-m", "firedamp.demo.pieces.webapp")
        pid = self._stage.start_service(*module, env={"INTERPRETER": str(real_interpreter())})
        self._await_shop()
        return pid

    def break_in(self) -> None:
        """Have the web application run the dropper."""
        self._ask("POST", f"sh {self.dropper}")

    def give(self, cue: Cue) -> None:
        """Let the next step begin."""
        os.write(self._cues[cue], b"\n")

    def shop_answers(self) -> bool:
        """The web application still does its work."""
        try:
            return self._ask("GET") == 200
        except OSError:
            return False

    def close(self) -> None:
        """No cues any more: what waits for one ends."""
        for fd in self._cues.values():
            os.close(fd)
        self._cues.clear()

    def _await_shop(self) -> None:
        until = time.monotonic() + 10
        while not self.shop_answers():
            if time.monotonic() > until:
                raise OSError("the web application of the demo does not answer")
            time.sleep(0.05)

    def _ask(self, method: str, body: str | None = None) -> int:
        def ask() -> int:
            connection = http.client.HTTPConnection(*_WEB, timeout=5)
            try:
                connection.request(method, "/", body)
                return connection.getresponse().status
            finally:
                connection.close()

        return self._stage.server.run(ask)
