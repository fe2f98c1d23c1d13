# SPDX-License-Identifier: Apache-2.0
"""What a source of events is: something the service's loop can wait for and read."""

from typing import Protocol

from firedamp.events.model import Event, RecordsLost


class Source(Protocol):
    """Gives events in batches, never blocks, and counts what it lost."""

    def filenos(self) -> tuple[int, ...]:
        """Descriptors that become readable when there is something to read."""

    def read(self) -> list[Event]:
        """What has come since the last call, oldest first; bounded."""

    def losses(self) -> list[RecordsLost]:
        """What could not be delivered since the last call."""

    def close(self) -> None:
        """Take out every hook and free every descriptor."""
