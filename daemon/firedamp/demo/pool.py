# SPDX-License-Identifier: Apache-2.0
"""A mining pool that has no coin and no peers: it greets whoever logs in, and takes notes."""

import contextlib
import json
import select
import socket
import threading
import time
from dataclasses import dataclass
from typing import Final

PORT: Final = 3333
_JOB: Final = {"blob": "0e0e" + "00" * 74, "job_id": "1", "target": "b88d0600", "algo": "rx/0"}
_MAX_LINE: Final = 16_384


@dataclass(frozen=True, slots=True)
class Login:
    """Someone's first line, and when it was heard, on the boot-time clock."""

    line: str
    at_ns: int


class Pool:
    """Listens from its making to `close`, on a socket of the namespace that it was made in."""

    def __init__(self, address: str) -> None:
        self.logins: list[Login] = []
        self.connections = 0
        """How many were accepted, those that said nothing included."""
        self._heard = threading.Condition()
        self._listener = socket.create_server((address, PORT))
        self._clients: dict[int, socket.socket] = {}
        self._stop_read, self._stop_write = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, name="pool", daemon=True)
        self._thread.start()

    def await_login(self, timeout_s: float) -> Login | None:
        """The first login, or None where nobody logs in."""
        with self._heard:
            self._heard.wait_for(lambda: self.logins, timeout_s)
            return self.logins[0] if self.logins else None

    def close(self) -> None:
        """Hang up on everybody."""
        self._stop_write.close()
        self._thread.join()

    def _serve(self) -> None:
        poll = select.poll()
        poll.register(self._stop_read, select.POLLIN)
        poll.register(self._listener, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == self._stop_read.fileno():
                    self._hang_up()
                    return
                if fd == self._listener.fileno():
                    client, _ = self._listener.accept()
                    self.connections += 1
                    self._clients[client.fileno()] = client
                    poll.register(client, select.POLLIN)
                elif not self._talk(self._clients[fd]):
                    poll.unregister(fd)
                    self._clients.pop(fd).close()

    def _talk(self, client: socket.socket) -> bool:
        """Answer one line; False once the other end is gone."""
        try:
            line = client.recv(_MAX_LINE)
            at_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            if b'"login"' in line:
                with self._heard:
                    self.logins.append(Login(line.decode(errors="replace"), at_ns))
                    self._heard.notify_all()
                client.sendall(_welcome())
        except OSError:
            return False
        return bool(line)

    def _hang_up(self) -> None:
        for one in (*self._clients.values(), self._listener, self._stop_read):
            with contextlib.suppress(OSError):
                one.close()


def _welcome() -> bytes:
    result = {"id": "0", "job": _JOB, "extensions": ["keepalive"], "status": "OK"}
    answer = {"id": 1, "jsonrpc": "2.0", "error": None, "result": result}
    return json.dumps(answer, separators=(",", ":")).encode() + b"\n"
