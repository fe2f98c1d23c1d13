# SPDX-License-Identifier: Apache-2.0
import contextlib
import json
import os
import resource
import select
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firedamp.control import server as server_module
from firedamp.control.client import request
from firedamp.control.protocol import MAX_REQUEST
from firedamp.control.server import ControlServer
from firedamp.errors import ActionError, ConfigError, ControlError, ControlUnavailable


class Loop(threading.Thread):
    """An event loop with nothing in it but the server, as the daemon has it."""

    def __init__(self, server: ControlServer) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.turns = 0
        self.longest_s = 0.0
        self._stop_fd, self._stop_write = os.pipe()
        self._epoll = select.epoll()
        self._epoll.register(server.fileno(), select.EPOLLIN)
        self._epoll.register(self._stop_fd, select.EPOLLIN)

    def run(self) -> None:
        """Serve until told to stop, and note how long the longest turn took."""
        while all(fd != self._stop_fd for fd, _ in self._epoll.poll(0.1)):
            before = time.monotonic()
            self.server.on_readable()
            self.longest_s = max(self.longest_s, time.monotonic() - before)
            self.turns += 1

    def stop(self) -> None:
        """End the loop."""
        os.write(self._stop_write, b"x")
        self.join()
        self._epoll.close()
        os.close(self._stop_fd)
        os.close(self._stop_write)


@pytest.fixture
def path(tmp_path) -> Path:
    """Where the socket is, in a directory that is not there yet."""
    return tmp_path / "run" / "control.sock"


def fail(_arguments: dict[str, object]) -> dict[str, object]:
    """Refuse, as a verb does on purpose."""
    raise ActionError("nothing to undo")


def crash(_arguments: dict[str, object]) -> dict[str, object]:
    """Fail, as nobody meant it to."""
    raise RuntimeError("oops")


@pytest.fixture
def loop(path) -> Iterator[Loop]:
    """A server with a few verbs, running."""
    server = ControlServer(path)
    server.register("echo", lambda arguments: arguments)
    server.register("undo", lambda arguments: {"undone": 1}, acts=True)
    server.register("big", lambda arguments: {"text": "x" * 3_000_000})
    server.register("huge", lambda arguments: {"text": "x" * 5_000_000})
    server.register("fail", fail)
    server.register("crash", crash)
    server.open()
    loop = Loop(server)
    loop.start()
    yield loop
    loop.stop()
    server.close()


def connect(path: Path) -> socket.socket:
    """A client that does as it likes."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(str(path))
    connection.settimeout(10)
    return connection


def say(path: Path, data: bytes) -> bytes:
    """Everything that the server answers to some bytes, until it closes the connection."""
    with connect(path) as connection:
        connection.sendall(data)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := connection.recv(65536):
                answer += chunk
        return answer


def test_request_gets_the_result_of_its_verb(loop, path):
    """
    Arguments go there and back.
    """
    assert request("echo", at=path, a=1, b=["ü"]) == {"a": 1, "b": ["ü"]}


def test_large_result_arrives_whole(loop, path):
    """
    More than a socket's buffer, sent as the client takes it.
    """
    assert len(request("big", at=path)["text"]) == 3_000_000


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ("fail", "nothing to undo"),
        ("crash", "the daemon failed to answer; its log says why"),
        ("huge", "the daemon failed to answer; its log says why"),
        ("dance", "unknown verb; known are big, crash, echo, fail, huge, undo"),
    ],
)
def test_failure_is_an_answer(loop, path, verb, said):
    """
    The command says what the daemon says, and the daemon goes on.
    """
    with structlog.testing.capture_logs(), pytest.raises(ControlError) as caught:
        request(verb, at=path)

    assert str(caught.value) == said
    assert not isinstance(caught.value, ControlUnavailable)
    assert request("echo", at=path) == {}


def test_absent_daemon_is_told_from_a_refusal(tmp_path):
    """
    So that the command can end with another status.
    """
    with pytest.raises(ControlUnavailable, match=r"no daemon at .*: No such file"):
        request("status", at=tmp_path / "none")


def test_daemon_that_hangs_is_given_up_on(tmp_path):
    """
    A stopped daemon must not hang the administrator's terminal.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()

        with pytest.raises(ControlUnavailable, match=r"no answer from the daemon in 0\.2 s"):
            request("status", at=tmp_path / "s", within_s=0.2)


def test_command_waits_for_a_daemon_that_is_busy(tmp_path):
    """
    A queue that is full for a moment is no reason to say that there is no daemon.
    """
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        listener.bind(str(tmp_path / "s"))
        listener.listen(0)
        stack.enter_context(connect(tmp_path / "s"))

        def serve() -> None:
            listener.accept()[0].close()
            connection, _ = listener.accept()
            connection.recv(1000)
            connection.sendall(b'{"ok":true,"result":{"late":1}}\n')
            connection.close()

        timer = threading.Timer(0.3, serve)
        timer.start()

        assert request("status", at=tmp_path / "s") == {"late": 1}
        timer.join()


def test_only_root_reaches_the_socket(loop, path):
    """
    The kernel turns everybody else away before the daemon sees them.
    """
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_open_rights_of_the_file_are_not_enough(loop, path):
    """
    Without a group, nobody but root gets an answer, whatever became of the socket's mode.
    """
    path.parent.parent.chmod(0o755)
    path.chmod(0o666)

    assert as_nobody(path, b'{"verb":"echo"}\n') is None


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_group_may_look_but_not_act(path):
    """
    What the kernel says about the client counts, not what the client says.
    """
    server = ControlServer(path, group="nogroup")
    server.register("status", lambda arguments: {"seen": True})
    server.register("undo", lambda arguments: {}, acts=True)
    server.open()
    loop = Loop(server)
    loop.start()
    path.parent.parent.chmod(0o755)
    try:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert as_nobody(path, b'{"verb":"status"}\n') == {"ok": True, "result": {"seen": True}}
        assert as_nobody(path, b'{"verb":"undo"}\n') == {"ok": False, "error": "only root may undo"}
        assert request("undo", at=path) == {}
    finally:
        loop.stop()
        server.close()


def as_nobody(path: Path, line: bytes) -> dict[str, object] | None:
    """The answer that an account gets which is in `nogroup` and is not root; None if none."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os.chdir(path.parent)
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            os.write(writer, say(Path(path.name), line))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        answer = stream.read()
    os.waitpid(child, 0)
    return json.loads(answer) if answer else None


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_others_cannot_flood_the_daemon_with_requests(path):
    """
    Twenty a second from those who are not root; root is not counted.
    """
    now = [100.0]
    server = ControlServer(path, group="nogroup", clock=lambda: now[0])
    server.register("status", lambda arguments: {})
    server.open()
    loop = Loop(server)
    loop.start()
    path.parent.parent.chmod(0o755)
    try:
        answers = [as_nobody(path, b'{"verb":"status"}\n')["ok"] for _ in range(22)]
        assert answers == [True] * 20 + [False] * 2
        assert request("status", at=path) == {}
        now[0] += 1
        assert as_nobody(path, b'{"verb":"status"}\n')["ok"]
    finally:
        loop.stop()
        server.close()


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"status\n",
        b"[]\n",
        b"{}\n",
        b'{"verb": 1}\n',
        b'{"verb": "echo", "arguments": []}\n',
        b"[" * 60_000 + b"\n",
        b'{"a":' * 12_000 + b"\n",
        b'{"verb": "echo", "n": ' + b"9" * 5_000 + b"}\n",
        b"\xff\xfe\n",
        b"\x00\n",
    ],
)
def test_what_is_no_request_is_refused_in_words(loop, path, line):
    """
    And the daemon goes on.
    """
    assert json.loads(say(path, line))["ok"] is False
    assert request("echo", at=path) == {}


@given(st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_no_bytes_stop_the_server(loop, path, data):
    """
    Whatever is said, the next client is served.
    """
    say(path, data.replace(b"\n", b" ") + b"\n")

    assert request("echo", at=path) == {}


def test_line_without_end_is_dropped(loop, path):
    """
    No more is kept than a request may be long.
    """
    endless = b"x" * (MAX_REQUEST * 40)

    with connect(path) as connection, pytest.raises((BrokenPipeError, ConnectionResetError)):
        connection.sendall(endless)


def test_slow_client_is_dropped_and_others_are_served_meanwhile(loop, path, monkeypatch):
    """
    A byte now and then does not buy more time.
    """
    monkeypatch.setattr(server_module, "_REQUEST_S", 0.3)
    started = time.monotonic()
    with connect(path) as slow, contextlib.suppress(BrokenPipeError):
        while time.monotonic() - started < 5:
            slow.send(b" ")
            assert request("echo", at=path) == {}
            time.sleep(0.02)

    assert 0.2 < time.monotonic() - started < 2


def test_client_that_does_not_read_is_dropped(loop, path, monkeypatch):
    """
    Its response does not stay in memory for ever.
    """
    monkeypatch.setattr(server_module, "_RESPONSE_S", 0.2)
    with connect(path) as deaf:
        deaf.sendall(b'{"verb":"big"}\n')
        time.sleep(0.5)

        received = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := deaf.recv(65536):
                received += chunk
    assert 0 < len(received) < 3_000_000


def test_crowd_does_not_keep_root_out(loop, path):
    """
    Hundreds of idle connections, and a request still gets through at once.
    """
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(connect(path))
        started = time.monotonic()

        assert request("echo", at=path) == {}
        assert time.monotonic() - started < 0.5


def test_nothing_that_a_client_does_holds_up_the_loop(loop, path):
    """
    Of all of the above at once, no turn takes long.
    """
    with contextlib.ExitStack() as stack:
        for data in (b"x", b"[" * 60_000, b'{"verb":"echo"', b""):
            for _ in range(20):
                client = stack.enter_context(connect(path))
                client.settimeout(0)
                with contextlib.suppress(OSError):
                    client.send(data)
        assert request("echo", at=path) == {}

    assert loop.longest_s < 0.25


def test_running_out_of_descriptors_does_not_spin(loop, path):
    """
    Clients wait, and are served again once there are descriptors.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as stack:
        waiting = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (waiting.fileno() + 1, hard))
            with contextlib.suppress(OSError):
                while True:
                    stack.callback(os.close, os.dup(0))
            before = loop.turns
            waiting.connect(str(path))
            time.sleep(1.5)
            turns = loop.turns - before
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

        assert 0 < turns < 40
        assert request("echo", at=path) == {}


def test_second_daemon_does_not_take_the_socket_over(loop, path):
    """
    It says so, and the first one keeps answering.
    """
    with pytest.raises(ConfigError, match="another firedamp is running"):
        ControlServer(path).open()

    assert request("echo", at=path) == {}


def test_socket_that_a_crash_left_behind_is_replaced(path):
    """
    A SIGKILL must not keep the next daemon from starting.
    """
    first = ControlServer(path)
    first.open()
    first._listener.close()  # noqa: SLF001 - as if the process were gone
    assert path.exists()

    second = ControlServer(path)
    second.open()
    loop = Loop(second)
    loop.start()
    try:
        with pytest.raises(ControlError, match="unknown verb"):
            request("echo", at=path)
    finally:
        loop.stop()
        second.close()


def test_closed_server_leaves_no_socket(path):
    """
    Nor a temporary one.
    """
    server = ControlServer(path)
    server.open()

    server.close()

    assert list(path.parent.iterdir()) == []


def test_group_that_does_not_exist_is_named(path):
    """
    With the key that names it.
    """
    with pytest.raises(ConfigError, match=r"control\.group: there is no group no-such-group"):
        ControlServer(path, group="no-such-group").open()
