# SPDX-License-Identifier: Apache-2.0
"""A daemon of the stage's own: the real one, as a process, with settings that keep it there."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from firedamp.demo.network import Namespace
from firedamp.paths import policies_dir

Document = dict[str, Any]
"""A line of the alerts file: an ECS document."""

READY_S: Final = 60.0
"""The probes are compiled at each start, which takes long on a small or busy machine."""
STOP_S: Final = 15.0
_FIREDAMP: Final = (sys.executable, "-I", "-m", "firedamp")
_LOG_LINES: Final = 12


class WatcherError(Exception):
    """The daemon did not do what it was started for; the text ends with what it said last."""


class Watcher:
    """One daemon, its configuration, and what it has told."""

    def __init__(
        self, directory: Path, *, namespace: Namespace, settings: Mapping[str, Any]
    ) -> None:
        """`settings` are laid over what keeps the daemon in this directory."""
        self.directory = directory
        self.state = directory / "state"
        self.config = directory / "firedamp.yaml"
        self.log = directory / "daemon.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._namespace = namespace
        self._alerts = self.state / "alerts.jsonl"
        self._read_to = 0
        self._documents: list[Document] = []
        directory.mkdir(mode=0o700)
        own = _settings(directory, self.state)
        self.config.write_text(yaml.safe_dump(merged(own, settings), sort_keys=False))

    def start(self, timeout_s: float = READY_S) -> None:
        """Start it, and wait until it says that it watches.

        Raises:
            WatcherError: it ended instead, or took too long.
        """
        until = time.monotonic() + timeout_s
        told = len(self.documents())
        self._namespace.run(self._spawn)
        while not any(map(_says_started, self.documents()[told:])):
            if self.process is None or self.process.poll() is not None:
                self.process = None
                raise WatcherError(f"the daemon did not start{self._last()}")
            if time.monotonic() > until:
                raise WatcherError(f"the daemon was not ready in time{self._last()}")
            time.sleep(0.02)

    def command(self, *verb: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run `firedamp VERB …` for this daemon, where the daemon runs."""
        argv = [*_FIREDAMP, *verb, "--config", str(self.config)]
        return self._namespace.run(
            subprocess.run, argv, capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def documents(self) -> list[Document]:
        """All that it has written to its alerts file so far."""
        with contextlib.suppress(FileNotFoundError), open(self._alerts, "rb") as file:
            file.seek(self._read_to)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # it is being written at this moment
                self._read_to += len(line)
                self._documents.append(json.loads(line))
        return self._documents

    def alerts(self) -> list[Document]:
        """The alerts among `documents`."""
        return [one for one in self.documents() if one.get("firedamp", {}).get("kind") == "alert"]

    def wait_for(
        self, wanted: Callable[[Document], bool], timeout_s: float = 10.0
    ) -> Document | None:
        """The first document that is wanted, now or when it comes; None where none comes."""
        until = time.monotonic() + timeout_s
        looked_at = 0
        while True:
            documents = self.documents()
            for document in documents[looked_at:]:
                if wanted(document):
                    return document
            looked_at = len(documents)
            if time.monotonic() > until:
                return None
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL, without a chance to tidy up."""
        self._end(signal.SIGKILL)

    def stop(self) -> int | None:
        """Ask it to end; returns its exit status, None where it never ran.

        Raises:
            WatcherError: it had to be killed.
        """
        self._namespace.settle()
        if self.process is None:
            return None
        try:
            return self._end(signal.SIGTERM)
        except subprocess.TimeoutExpired:
            self.kill()
            raise WatcherError(
                f"the daemon did not end within {STOP_S:g} s{self._last()}"
            ) from None

    def _end(self, number: signal.Signals) -> int | None:
        process = self.process
        if process is None:
            return None
        process.send_signal(number)
        status = process.wait(STOP_S)
        self.process = None
        return status

    def _spawn(self) -> None:
        # It must not outlive us, however we end. The signal comes when the thread that starts it
        # ends, and the namespace's thread stays until the namespace is closed.
        die_with_us = ["/usr/bin/env", "setpriv", "--pdeathsig", "TERM", "--"]
        run = [*_FIREDAMP, "run", "--config", str(self.config)]
        environment = {name: v for name, v in os.environ.items() if name != "NOTIFY_SOCKET"}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*die_with_us, *run, "--console"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )

    def _last(self) -> str:
        """What it said last, to be put behind a sentence."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
        except OSError:
            lines = []
        return "".join(f"\n    {line}" for line in [":", *lines]) if lines else ""


def _says_started(document: Document) -> bool:
    return bool(document["event"]["action"] == "started")


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Maps are merged key by key; anything else above replaces what is below."""
    out = dict(below)
    for key, value in above.items():
        under = out.get(key)
        both = isinstance(under, Mapping) and isinstance(value, Mapping)
        out[key] = merged(under, value) if both else value  # type: ignore[arg-type]
    return out


def _settings(directory: Path, state: Path) -> dict[str, Any]:
    """The shipped policies and nothing of this machine's own settings."""
    nothing = directory / "filters"
    nothing.mkdir()
    return {
        "policies": {"directories": [str(policies_dir())], "filters": [str(nothing)]},
        "alerts": {"journal": "no"},
        "response": {"on_stop": "remove"},
        "state_directory": str(state),
        "runtime_directory": str(directory / "run"),
    }
