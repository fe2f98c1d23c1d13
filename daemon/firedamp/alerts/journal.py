# SPDX-License-Identifier: Apache-2.0
"""Entries into journald, none of them lost silently.

libsystemd says nothing when there is no journal, and waits without end when the journal
hangs. So before each entry the socket is asked: does somebody answer, and is there room? If
not, entries wait in memory, in their order, up to a number; what does not fit is counted,
and the journal is told the count after those that did fit.
"""

import select
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from systemd import journal

from firedamp.alerts.entries import MESSAGE_IDS, Entry, journal_lines

SOCKET: Final = "/run/systemd/journal/socket"
_MAX_ATTEMPTS: Final = 10
_MAX_WAITING: Final = 2000  # at some 4 KiB an alert, 8 MiB


def is_answering(path: str = SOCKET) -> bool:
    """Whether a journal listens at the socket and has room for an entry at once."""
    kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    with socket.socket(socket.AF_UNIX, kind) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
        poll = select.poll()
        poll.register(probe, select.POLLOUT)
        return any(events & select.POLLOUT for _, events in poll.poll(0))


class Journal:
    """The way into the journal, with its queue."""

    name: Final = "journal"

    def __init__(
        self,
        *,
        ready: Callable[[], bool] = is_answering,
        send: Callable[..., None] = journal.sendv,
        max_waiting: int = _MAX_WAITING,
    ) -> None:
        self.lost = 0
        """Entries that the journal never got, since the start."""
        self._untold = 0
        self._attempts = 0
        self._ready = ready
        self._send = send
        self._max_waiting = max_waiting
        self._waiting: deque[Sequence[str]] = deque()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def write(self, entry: Entry) -> None:
        self.write_lines(journal_lines(entry))

    def write_lines(self, lines: Sequence[str]) -> None:
        """Send `KEY=value` lines as one entry, now or when the journal is back."""
        if len(self._waiting) >= self._max_waiting:
            # The oldest stay: an attack's beginning explains the rest of it.
            self.lost += 1
            self._untold += 1
        else:
            self._waiting.append(lines)
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as the journal takes it."""
        while (self._waiting or self._untold) and self._ready():
            lines = self._waiting[0] if self._waiting else _gap(self._untold)
            try:
                self._send(*lines)
            except OSError:
                self._attempts += 1
                if self._attempts < _MAX_ATTEMPTS:
                    return
                self._drop()
            except ValueError:  # libsystemd does not take this entry, now or ever
                self._drop()
            else:
                self._sent()

    def _sent(self) -> None:
        self._attempts = 0
        if self._waiting:
            self._waiting.popleft()
        else:
            self._untold = 0

    def _drop(self) -> None:
        """Give up on the first entry, so that those behind it get through."""
        self._attempts = 0
        if self._waiting:
            self._waiting.popleft()
            self.lost += 1
            self._untold += 1
        else:
            self._untold = 0

    def close(self) -> None:
        self.flush()
        self.lost += self.waiting
        self._waiting.clear()


def _gap(count: int) -> tuple[str, ...]:
    text = f"{count} entries did not reach the journal; see the alerts file"
    return (
        f"MESSAGE={text}",
        "PRIORITY=3",
        "SYSLOG_IDENTIFIER=firedamp",
        "FIREDAMP_KIND=degraded",
        f"FIREDAMP_COUNT={count}",
        f"MESSAGE_ID={MESSAGE_IDS['degraded']}",
    )
