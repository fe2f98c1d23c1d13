# SPDX-License-Identifier: Apache-2.0
"""What is recorded at the moment: all the time, as the settings say, or for a while, as asked.

A recording that fails ends, and says so; it never keeps the daemon from its watch.
"""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from firedamp import __version__
from firedamp.context.host import HostContext
from firedamp.errors import ControlError
from firedamp.events.model import Event
from firedamp.settings import Settings

if TYPE_CHECKING:
    from firedamp.sources.recording import Recorder

State = dict[str, object]
_MACHINE_ID: Final = Path("/etc/machine-id")


class Recorders:
    """At the most two recordings: the standing one and the one that was asked for."""

    def __init__(
        self,
        settings: Settings,
        boot_id: str,
        *,
        on_failure: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_failure` is told why a recording ended before its time."""
        self._settings = settings
        self._boot_id = boot_id
        self._on_failure = on_failure
        self._clock = clock
        self._standing: Recorder | None = None
        self._asked: Recorder | None = None
        self._until = 0.0
        self._ended: State = {"recording": False}
        self.on = False
        """Something is being recorded; while nothing is, `write` need not be called."""

    def start_standing(self) -> None:
        """Begin what the settings ask for, if anything."""
        target = self._settings.record.directory
        if not target:
            return
        directory = Path(target)
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._standing = self._recorder(directory, self._settings.record.max_mb)
        except OSError as error:
            self._on_failure(f"nothing is recorded in {target}: {error.strerror}")
        self._update()

    def start(self, path: Path, *, seconds: int, max_mb: int) -> State:
        """Record into a new file, or into a directory, for a while.

        Raises:
            ControlError: a recording that was asked for is under way, or the file cannot be made.
        """
        if self._asked:
            raise ControlError(f"a recording is under way already: {self._asked.target}")
        try:
            self._asked = self._recorder(path, max_mb)
        except OSError as error:
            raise ControlError(f"{path}: {error.strerror}") from error
        self._until = self._clock() + seconds
        self._update()
        return self.state()

    def stop(self, why: str = "stopped") -> State:
        """End the recording that was asked for; tell how it went."""
        recorder, self._asked = self._asked, None
        if recorder:
            why = self._closed(recorder) or why
            self._ended = {**_facts(recorder), "recording": False, "ended": why}
            self._update()
        return self.state()

    def state(self) -> State:
        """How the recording goes that was asked for, or went."""
        if self._asked is None:
            return dict(self._ended)
        left_s = max(0, round(self._until - self._clock()))
        return {**_facts(self._asked), "recording": True, "left_s": left_s}

    def write(self, events: Sequence[Event], host: HostContext) -> None:
        """Record events that `host` has not seen yet."""
        if self._standing:
            try:
                self._standing.write(events, host)
            except OSError as error:
                self._give_up_standing(error)
        if self._asked:
            try:
                self._asked.write(events, host)
            except OSError as error:
                self.stop(f"failed: {error.strerror}")
        if self._asked and self._asked.is_full:
            self.stop("full")

    def tick(self) -> None:
        """Flush, and end what is over; for the main loop, every second or so."""
        if self._standing:
            try:
                self._standing.flush()
            except OSError as error:
                self._give_up_standing(error)
        if self._asked:
            try:
                self._asked.flush()
            except OSError as error:
                self.stop(f"failed: {error.strerror}")
        if self._asked and self._clock() >= self._until:
            self.stop("time is up")

    def close(self) -> None:
        """End all."""
        self.stop("the daemon ended")
        if self._standing:
            self._closed(self._standing)
            self._standing = None
        self._update()

    def _recorder(self, target: Path, max_mb: int) -> "Recorder":
        # Here, since it takes memory that is not spent where nothing is recorded.
        from firedamp.sources.masks import Masks  # noqa: PLC0415
        from firedamp.sources.recording import Header, Recorder, new_run  # noqa: PLC0415

        header = Header(
            version=__version__,
            run=new_run(),
            sequence=0,
            boot_id=self._boot_id,
            host_name=os.uname().nodename,
            host_id=_machine_id(),
            clock_offset_ns=time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME),
            cpu_window_s=self._settings.sources.cpu_window_s,
            cpu_cores=self._settings.sources.cpu_cores,
        )
        masks = Masks(self._settings.record.mask)
        return Recorder(target, header, masks, max_bytes=max_mb << 20)

    def _give_up_standing(self, error: OSError) -> None:
        recorder, self._standing = self._standing, None
        if recorder:
            self._closed(recorder)
            self._on_failure(f"recording in {recorder.target} has ended: {error.strerror}")
        self._update()

    def _closed(self, recorder: "Recorder") -> str:
        """What went wrong at the end; empty if nothing did."""
        try:
            recorder.close()
        except OSError as error:
            return f"failed: {error.strerror}"
        return ""

    def _update(self) -> None:
        self.on = bool(self._standing or self._asked)


def _facts(recorder: "Recorder") -> State:
    return {"path": str(recorder.target), "events": recorder.events, "bytes": recorder.size}


def _machine_id() -> str:
    try:
        return _MACHINE_ID.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
