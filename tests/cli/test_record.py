# SPDX-License-Identifier: Apache-2.0
"""`firedamp record`, as typed, with a daemon that only answers."""

import select
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from firedamp.control.server import ControlServer


class Daemon:
    """Records for three looks, and then ends as it is told to."""

    def __init__(self) -> None:
        self.asked: list[dict[str, object]] = []
        self.ends = "time is up"
        self._left = 3

    def record(self, arguments: dict[str, object]) -> dict[str, object]:
        """Begin."""
        self.asked.append(arguments)
        return {"recording": True}

    def state(self, _arguments: dict[str, object]) -> dict[str, object]:
        """Go on, or have ended."""
        self._left -= 1
        facts = {"path": "/x", "events": 7, "bytes": 4096}
        return {"recording": True} if self._left else {**facts, "ended": self.ends}


@pytest.fixture
def recording(tmp_path, etc) -> Iterator[Daemon]:
    """A daemon at the control socket."""
    made = Daemon()
    server = ControlServer(tmp_path / "run" / "control.sock")
    server.register("record", made.record, acts=True)
    server.register("record-state", made.state)
    server.open()
    stop = threading.Event()

    def serve() -> None:
        with select.epoll() as epoll:
            epoll.register(server.fileno(), select.EPOLLIN)
            while not stop.is_set():
                if epoll.poll(0.02):
                    server.on_readable()

    thread = threading.Thread(target=serve)
    thread.start()
    yield made
    stop.set()
    thread.join()
    server.close()


def test_it_asks_and_waits_for_the_end(firedamp, recording, tmp_path, monkeypatch):
    """
    The path is made absolute: the daemon has another working directory.
    """
    monkeypatch.chdir(tmp_path)

    ran = firedamp("record", "--seconds", "5", "--max-mb", "3", "r.gz")

    assert recording.asked == [{"path": str(Path.cwd() / "r.gz"), "seconds": 5, "max_mb": 3}]
    assert ran.status == 0
    assert "7 events, 4 KiB, /x: time is up" in ran.out


def test_recording_that_ended_early_is_a_problem(firedamp, recording):
    """
    Scripts go by the status.
    """
    recording.ends = "full"

    ran = firedamp("record", "r.gz")

    assert ran.status == 1
    assert "full" in ran.out


def test_no_daemon_is_said(firedamp):
    """
    As by every verb that asks one.
    """
    assert firedamp("record", "r.gz").status == 3


@pytest.mark.parametrize("wrong", [("--seconds", "0"), ("--max-mb", "x"), ()])
def test_wrong_use_is_refused(firedamp, wrong):
    """
    Before anything is asked.
    """
    files = ["r.gz"] if wrong else []
    assert firedamp("record", *wrong, *files).status == 2
