# SPDX-License-Identifier: Apache-2.0
"""What is recorded, when it ends, and what is said of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from firedamp.context.host import HostContext
from firedamp.errors import ControlError
from firedamp.events.model import Event, ProcessKey, RecordsLost
from firedamp.recorders import Recorders
from firedamp.settings import Record, Settings
from firedamp.sources.recorded import Recorded


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Time stands still."""
    return Clock()


@pytest.fixture
def failures() -> list[str]:
    """What was complained of."""
    return []


@pytest.fixture
def recorders(clock, failures, tmp_path) -> Recorders:
    """With a standing recording in a directory that is not there yet."""
    settings = Settings(record=Record(directory=str(tmp_path / "a/standing"), max_mb=16))
    return Recorders(settings, "boot", on_failure=failures.append, clock=clock)


def losses(count, size=10):
    """Events that cannot be compressed."""
    return [
        RecordsLost(
            at_ns=n, process=ProcessKey(0, 0), source=os.urandom(size).hex(), kind="x", count=1
        )
        for n in range(count)
    ]


def events_of(path):
    """What happened, of a recording."""
    return [one for one in Recorded(Path(path)) if isinstance(one, Event)]


def test_nothing_is_recorded_until_it_is_asked_for(clock, failures):
    """
    Off by default, and the loop has nothing to do for it.
    """
    recorders = Recorders(Settings(), "boot", on_failure=failures.append, clock=clock)

    recorders.start_standing()

    assert not recorders.on
    assert recorders.state() == {"recording": False}


def test_daemon_that_records_nothing_does_not_hold_what_recording_takes():
    """
    Expressions and codecs are some megabytes.
    """
    listing = "import sys, firedamp.service; print(*sys.modules)"

    loaded = subprocess.run(
        [sys.executable, "-I", "-c", listing], capture_output=True, text=True, check=True
    ).stdout.split()

    assert "firedamp.recorders" in loaded
    assert {"firedamp.sources.masks", "firedamp.sources.recording", "re2"}.isdisjoint(loaded)


def test_standing_recording_goes_on_until_the_end(recorders, tmp_path, failures):
    """
    In a directory for root alone.
    """
    recorders.start_standing()
    assert recorders.on

    recorders.write(losses(3), HostContext())
    recorders.tick()
    recorders.close()

    directory = tmp_path / "a/standing"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert len(events_of(directory)) == 3
    assert (recorders.on, failures) == (False, [])


def test_asked_recording_ends_when_its_time_is_up(recorders, clock, tmp_path):
    """
    And not before.
    """
    file = tmp_path / "r.gz"
    state = recorders.start(file, seconds=10, max_mb=1)
    assert (state["recording"], state["left_s"]) == (True, 10)
    recorders.write(losses(2), HostContext())
    clock.now += 9
    recorders.tick()
    assert recorders.on

    clock.now += 1
    recorders.tick()

    assert not recorders.on
    state = recorders.state()
    assert (state["ended"], state["events"]) == ("time is up", 2)
    assert state["bytes"] == file.stat().st_size
    recorded = Recorded(file)
    assert len([one for one in recorded if isinstance(one, Event)]) == 2
    assert recorded.broken_off == 0


def test_asked_recording_ends_when_it_is_full(recorders, tmp_path):
    """
    At once, not at the next second: a storm could fill the disk.
    """
    file = tmp_path / "r.gz"
    recorders.start(file, seconds=10, max_mb=1)

    recorders.write(losses(3000, size=500), HostContext())

    assert recorders.state()["ended"] == "full"
    assert not recorders.on


def test_only_one_is_asked_for_at_a_time(recorders, tmp_path):
    """
    Beside the standing one, which goes on.
    """
    recorders.start_standing()
    recorders.start(tmp_path / "one.gz", seconds=10, max_mb=1)

    with pytest.raises(ControlError, match="under way already"):
        recorders.start(tmp_path / "two.gz", seconds=10, max_mb=1)

    recorders.write(losses(1), HostContext())
    assert recorders.stop()["ended"] == "stopped"
    assert recorders.on
    recorders.write(losses(1), HostContext())
    recorders.close()
    assert len(events_of(tmp_path / "one.gz")) == 1
    assert len(events_of(tmp_path / "a/standing")) == 2


def test_disk_that_fills_up_ends_recordings_and_nothing_else(recorders, failures):
    """
    The daemon watches on; an administrator is told.
    """
    recorders.start_standing()
    recorders.start(Path("/dev/shm") / f"firedamp-{os.getpid()}", seconds=9, max_mb=100)
    for recorder in (recorders._standing, recorders._asked):  # noqa: SLF001
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, recorder._file._descriptor)  # noqa: SLF001
        os.close(full)
    recorders.write(losses(1), HostContext())

    recorders.tick()

    assert not recorders.on
    assert recorders.state()["ended"] == "failed: No space left on device"
    assert len(failures) == 1
    assert "No space left" in failures[0]
    Path(f"/dev/shm/firedamp-{os.getpid()}").unlink()


def test_place_that_cannot_be_had_is_complained_of(clock, failures, tmp_path):
    """
    Watching matters more than recording.
    """
    (tmp_path / "file").write_text("")
    settings = Settings(record=Record(directory=str(tmp_path / "file/x")))
    recorders = Recorders(settings, "boot", on_failure=failures.append, clock=clock)

    recorders.start_standing()

    assert not recorders.on
    assert "Not a directory" in failures[0]
    with pytest.raises(ControlError, match="Not a directory"):
        recorders.start(tmp_path / "file/x", seconds=1, max_mb=1)
