# SPDX-License-Identifier: Apache-2.0
"""The daemon's end of the keeper, which lets frozen processes go on when the daemon dies.

Rule: a process is in the keeper's care before it is sent SIGSTOP, and stays there until it
was continued or has ended. A message that was sent is as good as one that was read: the
kernel delivers what is queued before it tells that the sender died.

The one gap: whoever kills the daemon and the keeper in the same instant leaves what was frozen
frozen. The ledger knows about it, and the next start continues it (`response.recover`).
"""

import contextlib
import os
import resource
import select
import signal
import socket
import struct
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from firedamp.errors import ActionError
from firedamp.events.model import ProcessKey
from firedamp.response.keeper_process import KEY, MOST_KEYS

_PROGRAM = Path(__file__).with_name("keeper_process.py")
_CHANNEL = 3
_PATIENCE_S = 1.0
"""How long a message may take; a keeper that does not read for so long is replaced."""


class Keeper:
    """Starts the keeper process, tells it whom to hold, and replaces it when it dies."""

    def __init__(self) -> None:
        self.pid = 0
        """Of the keeper process; 0: none runs."""
        self._channel: socket.socket | None = None
        self._held: dict[ProcessKey, int] = {}

    def start(self) -> None:
        """Start the process, unless it runs; raise the limit of descriptors, its own too.

        Raises:
            ActionError: it cannot be started.
        """
        if self.pid == 0:
            # One pidfd for each frozen process, and who is to be frozen may be a fork bomb.
            most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
            self._spawn()

    def hold(self, pidfds: Mapping[ProcessKey, int]) -> None:
        """Take processes into care. The pidfds stay the caller's.

        Raises:
            ActionError: they could not be handed over; do not stop them.
        """
        new = {key: fd for key, fd in pidfds.items() if key not in self._held}
        if not new:
            return
        try:
            for key, fd in new.items():
                self._held[key] = os.dup(fd)
            self._tell_or_replace({key: self._held[key] for key in new})
        except (ActionError, OSError) as error:
            self._drop([key for key in new if key in self._held])
            raise ActionError(f"the keeper cannot take care: {error}") from error

    def forget(self, keys: Iterable[ProcessKey]) -> None:
        """They were continued or have ended; nothing will be done to them any more."""
        gone = [key for key in keys if key in self._held]
        self._drop(gone)
        for batch in _batches(gone):
            with contextlib.suppress(OSError):  # a dead keeper is found by the next check()
                self._send(b"-" + b"".join(KEY.pack(*key) for key in batch), [])

    def forget_dead(self) -> None:
        """Drop those that ended while they were frozen, so that descriptors do not pile up."""
        poll = select.poll()
        for pidfd in self._held.values():
            poll.register(pidfd, select.POLLIN)
        ended = {pidfd for pidfd, _ in poll.poll(0)}
        self.forget([key for key, pidfd in self._held.items() if pidfd in ended])

    def held(self) -> tuple[ProcessKey, ...]:
        """Who is in its care."""
        return tuple(self._held)

    def check(self) -> bool:
        """Replace a keeper that died, and hand over to the new one. True: it had died.

        Raises:
            ActionError: a new one cannot be started. What is frozen stays as it is.
        """
        if self._channel is None or not _is_closed(self._channel):
            self.start()
            return False
        self._replace()
        return True

    def stop(self) -> None:
        """End the keeper. It continues whatever it still holds."""
        self._drop(list(self._held))
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        self._reap()

    # ---- private ----------------------------------------------------------------------------

    def _spawn(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            ours.settimeout(_PATIENCE_S)
            arguments = [sys.executable, "-I", "-S", str(_PROGRAM), str(_CHANNEL)]
            try:
                self.pid = os.posix_spawn(
                    sys.executable,
                    arguments,
                    {"LC_ALL": "C"},
                    file_actions=[
                        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0),
                        (os.POSIX_SPAWN_DUP2, 0, 1),
                        (os.POSIX_SPAWN_DUP2, theirs.fileno(), _CHANNEL),
                    ],
                    # From its first instruction on, and for good.
                    setsigmask=signal.valid_signals(),
                    # Not in the daemon's group: a Ctrl-C or hang-up there is not meant for it.
                    setsid=True,
                )
            except OSError as error:
                ours.close()
                raise ActionError(f"the keeper cannot be started: {error.strerror}") from error
        self._channel = ours

    def _replace(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self.pid:
            # It may not be dead but hang: a stopped keeper would continue what it holds as
            # soon as somebody lets it run and it finds its channel closed.
            with contextlib.suppress(OSError):
                os.kill(self.pid, signal.SIGKILL)
        self._reap()
        self._spawn()
        try:
            self._hand_over(self._held)
        except OSError as error:
            raise ActionError(f"a new keeper does not listen: {error}") from error

    def _reap(self) -> None:
        if self.pid:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, 0)
            self.pid = 0

    def _tell_or_replace(self, kept: Mapping[ProcessKey, int]) -> None:
        try:
            self._hand_over(kept)
        except OSError:
            self._replace()  # which hands over everything, these too

    def _hand_over(self, kept: Mapping[ProcessKey, int]) -> None:
        for batch in _batches(list(kept)):
            self._send(
                b"+" + b"".join(KEY.pack(*key) for key in batch), [kept[key] for key in batch]
            )

    def _send(self, message: bytes, fds: list[int]) -> None:
        if self._channel is None:
            raise ConnectionResetError
        rights = struct.pack(f"={len(fds)}i", *fds)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if fds else []
        self._channel.sendmsg([message], ancillary)

    def _drop(self, keys: Iterable[ProcessKey]) -> None:
        for key in keys:
            os.close(self._held.pop(key))


def _batches(keys: list[ProcessKey]) -> Iterable[list[ProcessKey]]:
    return (keys[at : at + MOST_KEYS] for at in range(0, len(keys), MOST_KEYS))


def _is_closed(channel: socket.socket) -> bool:
    poll = select.poll()
    poll.register(channel, 0)
    return bool(poll.poll(0))
