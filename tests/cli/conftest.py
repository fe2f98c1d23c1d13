# SPDX-License-Identifier: Apache-2.0
import select
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firedamp import paths
from firedamp.cli import main
from firedamp.control.server import ControlServer


class Ran:
    """What a command said, and how it ended."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err


@pytest.fixture
def etc(tmp_path, monkeypatch) -> Path:
    """A configuration directory of its own, with the runtime directory beside it."""
    directory = tmp_path / "etc"
    directory.mkdir()
    monkeypatch.setattr(paths, "config_dir", lambda: directory)
    (directory / "firedamp.yaml").write_text(
        f"runtime_directory: {tmp_path}/run\nstate_directory: {tmp_path}/state\n"
    )
    return directory


@pytest.fixture
def firedamp(etc, capsys) -> Callable[..., Ran]:
    """The command, as typed."""

    def run(*arguments: str) -> Ran:
        try:
            status = main(arguments)
        except SystemExit as end:
            status = end.code
        out, err = capsys.readouterr()
        return Ran(status, out, err)

    return run


@pytest.fixture
def daemon(tmp_path, etc) -> Iterator[dict[str, dict[str, object]]]:
    """Something that answers at the control socket, with what is put here by verb."""
    answers: dict[str, dict[str, object]] = {}
    server = ControlServer(tmp_path / "run" / "control.sock")
    for verb in ("status", "doctor"):
        server.register(verb, lambda _arguments, verb=verb: answers[verb])
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
    yield answers
    stop.set()
    thread.join()
    server.close()
