# SPDX-License-Identifier: Apache-2.0
"""The daemon's end of the control socket, inside its event loop.

It owns an epoll of its own, whose one descriptor becomes readable when anything is to do:

    server = ControlServer(path, group="adm")
    server.register("status", status)
    server.register("undo", undo, acts=True)
    server.open()
    loop: on server.fileno() readable -> server.on_readable(); each second -> server.tick()

What must hold, whatever a client does:

1. Nothing waits for a client. Reading and writing never block, and a client that takes too
   long is dropped.
2. What a client can make the daemon hold is bounded: clients, bytes of a request and of a
   response, requests a second of those who are not root.
3. The kernel says who a client is. Only root acts; members of the group may look; to anyone
   else the socket is not even open.
4. Root gets in, however many others hold connections.
5. A handler that fails is an answer to the client and a line in the log, never more.
"""

import errno
import grp
import os
import select
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from firedamp import log
from firedamp.control.protocol import (
    MAX_REQUEST,
    Arguments,
    Result,
    error_line,
    parse_request,
    result_line,
)
from firedamp.errors import ConfigError, DecodeError, FiredampError

Handler = Callable[[Arguments], Result]

_MAX_CLIENTS: Final = 16
_BACKLOG: Final = 128
_ACCEPTS_PER_TURN: Final = 64
_PAUSE_S: Final = 0.5
_REQUEST_S: Final = 3.0
_RESPONSE_S: Final = 5.0
_REQUESTS_PER_S: Final = 20
_UCRED: Final = struct.Struct("iII")


class _Client:
    """One connection, and what is under way on it."""

    __slots__ = ("deadline", "received", "socket", "to_send", "uid")

    def __init__(self, connection: socket.socket, uid: int, deadline: float) -> None:
        self.socket = connection
        self.uid = uid
        self.deadline = deadline
        self.received = bytearray()
        self.to_send = memoryview(b"")


class ControlServer:
    def __init__(
        self, path: Path, *, group: str = "", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = path
        self._group = group
        self._clock = clock
        self._handlers: dict[str, tuple[Handler, bool]] = {}
        self._clients: dict[int, _Client] = {}
        self._listener: socket.socket | None = None
        self._epoll = select.epoll()
        self._resume_at = 0.0
        """When to listen again, where descriptors had run out; else 0."""
        self._second = 0
        self._requests = 0

    def register(self, verb: str, handler: Handler, *, acts: bool = False) -> None:
        """Answer a verb with what the handler makes of its arguments.

        A `FiredampError` that it raises is told to the client as it is.
        """
        self._handlers[verb] = (handler, acts)

    def open(self) -> None:
        """Start to listen.

        Raises:
            ConfigError: another daemon listens there, the group does not exist, or the
                socket cannot be made.
        """
        if _somebody_listens(self._path):
            raise ConfigError(f"another firedamp is running: it answers at {self._path}")
        group_id = _group_id(self._group)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        # Under another name until its rights are right: nobody connects too early.
        new = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            new.unlink(missing_ok=True)
            listener.bind(str(new))
            os.chown(new, -1, group_id)
            new.chmod(0o660 if self._group else 0o600)
            listener.listen(_BACKLOG)
            new.rename(self._path)
        except OSError as error:
            listener.close()
            raise ConfigError(f"control socket {self._path}: {error.strerror}") from error
        self._listener = listener
        self._epoll.register(listener, select.EPOLLIN)

    def fileno(self) -> int:
        return self._epoll.fileno()

    def on_readable(self) -> None:
        """Do what can be done without waiting."""
        for descriptor, _ in self._epoll.poll(0):
            if client := self._clients.get(descriptor):
                self._serve(client)
            elif self._listener and descriptor == self._listener.fileno():
                self._accept_all(self._listener)
        self.tick()

    def tick(self) -> None:
        """Drop the clients that take too long; for the main loop, every second or so."""
        now = self._clock()
        if self._listener and 0 < self._resume_at <= now:
            self._resume_at = 0.0
            self._epoll.register(self._listener, select.EPOLLIN)
        for client in [one for one in self._clients.values() if one.deadline <= now]:
            self._drop(client)

    def close(self) -> None:
        for client in list(self._clients.values()):
            self._drop(client)
        if self._listener:
            self._listener.close()
            self._listener = None
            self._path.unlink(missing_ok=True)
        self._epoll.close()

    def _accept_all(self, listener: socket.socket) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                connection, _address = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                # Without descriptors the queue stays as it is and the loop would spin on it.
                if error.errno in {errno.EMFILE, errno.ENFILE}:
                    self._resume_at = self._clock() + _PAUSE_S
                    self._epoll.unregister(listener)
                    return
            else:
                self._admit(connection)

    def _admit(self, connection: socket.socket) -> None:
        connection.settimeout(0)
        uid = _peer_uid(connection)
        if not (_may_act(uid) or self._group) or not self._make_room(uid):
            connection.close()
            return
        deadline = self._clock() + _REQUEST_S
        self._clients[connection.fileno()] = _Client(connection, uid, deadline)
        self._epoll.register(connection, select.EPOLLIN)

    def _make_room(self, uid: int) -> bool:
        if len(self._clients) < _MAX_CLIENTS:
            return True
        if not _may_act(uid):
            return False
        # Others go first, then whoever has been longest.
        victim = min(self._clients.values(), key=lambda one: (_may_act(one.uid), one.deadline))
        self._drop(victim)
        return True

    def _drop(self, client: _Client) -> None:
        del self._clients[client.socket.fileno()]
        client.socket.close()

    def _serve(self, client: _Client) -> None:
        try:
            if client.to_send:
                self._send(client)
            else:
                self._receive(client)
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)

    def _receive(self, client: _Client) -> None:
        chunk = client.socket.recv(MAX_REQUEST)
        if not chunk:
            self._drop(client)
            return
        client.received += chunk
        line, newline, _ = client.received.partition(b"\n")
        if newline:
            client.to_send = memoryview(self._answer(client, bytes(line)))
            client.deadline = self._clock() + _RESPONSE_S
            self._epoll.modify(client.socket, select.EPOLLOUT)
            self._send(client)
        elif len(client.received) > MAX_REQUEST:
            self._drop(client)

    def _send(self, client: _Client) -> None:
        client.to_send = client.to_send[client.socket.send(client.to_send) :]
        if not client.to_send:
            self._drop(client)

    def _answer(self, client: _Client, line: bytes) -> bytes:
        if not _may_act(client.uid) and not self._within_budget():
            return error_line("too many requests: try again in a second")
        try:
            verb, arguments = parse_request(line)
        except DecodeError as error:
            return error_line(str(error))
        handler, acts = self._handlers.get(verb, (None, False))
        if handler is None:
            return error_line(f"unknown verb; known are {', '.join(sorted(self._handlers))}")
        if acts and not _may_act(client.uid):
            return error_line(f"only root may {verb}")
        try:
            return result_line(handler(arguments))
        except FiredampError as error:
            return error_line(str(error))
        except Exception:  # noqa: BLE001 - a request must not end the daemon
            log.get_logger().exception("control_request_failed", verb=verb)
            return error_line("the daemon failed to answer; its log says why")

    def _within_budget(self) -> bool:
        second = int(self._clock())
        if second != self._second:
            self._second, self._requests = second, 0
        self._requests += 1
        return self._requests <= _REQUESTS_PER_S


def _may_act(uid: int) -> bool:
    return uid in {0, os.geteuid()}


def _peer_uid(connection: socket.socket) -> int:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    _pid, uid, _gid = _UCRED.unpack(credentials)
    return int(uid)


def _group_id(name: str) -> int:
    """The group's number; -1, which changes nothing, for no name."""
    if not name:
        return -1
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ConfigError(f"control.group: there is no group {name}") from None


def _somebody_listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(str(path))
        except BlockingIOError:  # its queue is full, so there is one
            return True
        except OSError:
            return False
        return True
