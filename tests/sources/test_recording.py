# SPDX-License-Identifier: Apache-2.0
"""What is written can be read, also where it broke off or was tampered with."""

import gzip
import json
import os
import re
import stat

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firedamp.context.host import HostContext
from firedamp.context.process import Process
from firedamp.errors import SourceError
from firedamp.events.model import (
    Event,
    ProcessExited,
    ProcessForked,
    ProcessKey,
    RecordsLost,
    UserNamed,
)
from firedamp.sources import recorded as reading
from firedamp.sources.masks import Masks
from firedamp.sources.recorded import Recorded, Remembered
from firedamp.sources.recording import Header, Recorder, make_room, new_run

HEADER = Header(
    version="1",
    run="20261123T120000-abcdef",
    sequence=0,
    boot_id="b",
    host_name="h",
    host_id="i",
    clock_offset_ns=5,
    cpu_window_s=60,
    cpu_cores=0.8,
)


def exits(count, first=0):
    """Events that are told apart."""
    return [
        ProcessExited(at_ns=n, process=ProcessKey(n, n), exit_code=0, cpu_ns=n)
        for n in range(first, first + count)
    ]


def record(target, batches, *, max_bytes=1 << 20, header=HEADER, host=None):
    """Write a recording as the daemon does."""
    recorder = Recorder(target, header, Masks(), max_bytes=max_bytes)
    host = host or HostContext()
    for batch in batches:
        recorder.write(batch, host)
        for event in batch:
            host.observe(event)
        recorder.flush()
    recorder.close()
    return recorder


def events_of(path):
    """What happened, of a recording."""
    return [one for one in Recorded(path) if isinstance(one, Event)]


@pytest.fixture
def file(tmp_path):
    """Where to record to."""
    return tmp_path / "r.jsonl.gz"


def test_what_was_recorded_is_read(file):
    """
    In order, after the header and what was known before.
    """
    host = HostContext()
    host.observe(UserNamed(at_ns=1, process=ProcessKey(1, 1), uid=33, name="www-data"))
    host.observe(ProcessForked(
        at_ns=1, process=ProcessKey(9, 9), parent=ProcessKey(1, 1), uid=33, cgroup_id=1, comm="x",
    ))  # fmt: skip

    record(file, [exits(3), exits(2, 3)], host=host)

    header, *rest = Recorded(file)
    assert header == HEADER
    known = [one.what for one in rest if isinstance(one, Remembered)]
    assert [one.name for one in known if isinstance(one, UserNamed)] == ["root", "www-data"]
    assert [one.key for one in known if not isinstance(one, Event)] == [ProcessKey(9, 9)]
    assert rest[len(known) :] == exits(5)


def test_file_is_for_root_alone_and_new(file):
    """
    It holds command lines.
    """
    record(file, [exits(1)])

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        record(file, [exits(1)])


def test_is_plain_gzip_of_json_lines(file):
    """
    Other programs can read it.
    """
    record(file, [exits(2)])

    lines = gzip.decompress(file.read_bytes()).splitlines()

    assert [json.loads(one)["event"] for one in lines[2:]] == ["ProcessExited"] * 2


def test_flushed_events_survive_a_crash(file):
    """
    What was flushed is read, although nobody ended the file.
    """
    recorder = Recorder(file, HEADER, Masks(), max_bytes=1 << 20)
    recorder.write(exits(3), HostContext())
    recorder.flush()

    recorded = Recorded(file)
    assert [one for one in recorded if isinstance(one, Event)] == exits(3)
    assert (recorded.broken_off, recorded.malformed) == (1, 0)
    recorder.close()


@given(cut=st.integers(1, 3000))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_file_that_breaks_off_is_read_up_to_there(tmp_path, cut):
    """
    Wherever that is: a part of the events, in order, and never another error.
    """
    file = tmp_path / f"{os.urandom(8).hex()}.jsonl.gz"
    record(file, [exits(40, 40 * n) for n in range(20)])
    whole = file.read_bytes()
    file.write_bytes(whole[: max(0, len(whole) - cut)])

    recorded = Recorded(file)
    found = [one for one in recorded if isinstance(one, Event)]

    assert found == exits(len(found))
    assert recorded.broken_off == 1
    assert recorded.malformed == 0


@given(at=st.integers(0, 2000), byte=st.integers(0, 255))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_damage_is_no_error_of_another_kind(tmp_path, at, byte):
    """
    A bit that flipped costs what follows it, and no more.
    """
    file = tmp_path / f"{os.urandom(8).hex()}.jsonl.gz"
    record(file, [exits(40, 40 * n) for n in range(20)])
    data = bytearray(file.read_bytes())
    data[at % len(data)] = byte
    file.write_bytes(data)

    try:
        for _ in Recorded(file):
            pass
    except SourceError:
        pass


def test_malformed_lines_are_skipped_and_counted(file):
    """
    One bad line is no reason to lose the rest.
    """
    record(file, [exits(2)])
    lines = gzip.decompress(file.read_bytes()).splitlines()
    bad = [b"{", b"[]", b'{"event": "Nothing"}', b"\xff", b'{"known": 1}', b"[" * 100_000, b""]
    file.write_bytes(gzip.compress(b"\n".join([*lines[:-1], *bad, lines[-1], b""])))

    recorded = Recorded(file)

    assert [one for one in recorded if isinstance(one, Event)] == exits(2)
    assert recorded.malformed == len(bad)


def test_line_without_end_takes_no_memory(file, monkeypatch):
    """
    A file of a few kilobytes can unpack to gigabytes.
    """
    monkeypatch.setattr(reading, "MAX_LINE", 1 << 20)
    record(file, [exits(1)])
    text = gzip.decompress(file.read_bytes())
    huge = b'{"event": "' + b"x" * (8 << 20) + b'"}\n'
    last = text.splitlines()[-1] + b"\n"
    file.write_bytes(gzip.compress(text + huge + last))

    recorded = Recorded(file)
    longest = max(len(one) for one in recorded._lines(file))  # noqa: SLF001

    assert longest < 2 << 20
    assert [one for one in recorded if isinstance(one, Event)] == exits(1) * 2
    assert recorded.malformed == 1


def test_unpacked_recording_and_joined_ones_are_read(file, tmp_path):
    """
    As people make them with zcat and cat.
    """
    record(file, [exits(3)])
    packed = file.read_bytes()
    text = gzip.decompress(packed)
    (tmp_path / "plain.jsonl").write_bytes(text)
    (tmp_path / "joined.gz").write_bytes(packed + gzip.compress(text.splitlines()[-1] + b"\n"))

    assert events_of(tmp_path / "plain.jsonl") == exits(3)
    assert events_of(tmp_path / "joined.gz") == [*exits(3), exits(3)[-1]]


@pytest.mark.parametrize("content", [b"", b"hello\n", b"{}\n", gzip.compress(b"x"), b"[1]\n"])
def test_other_file_is_no_recording(file, content):
    """
    It says so.
    """
    file.write_bytes(content)

    with pytest.raises(SourceError, match="not a recording"):
        events_of(file)


def test_recording_of_another_version_is_refused(file):
    """
    Its events could mean something else.
    """
    file.write_bytes(json.dumps({"recording": 2}).encode() + b"\n")

    with pytest.raises(SourceError, match="another version"):
        events_of(file)


def noise(count, first):
    """Events that cannot be compressed."""
    return [
        RecordsLost(
            at_ns=n, process=ProcessKey(0, 0), source=os.urandom(200).hex(), kind="x", count=1
        )
        for n in range(first, first + count)
    ]


def test_directory_keeps_the_newest_within_its_room(tmp_path):
    """
    However much is recorded; and whatever else lies there stays.
    """
    other = tmp_path / "firedamp-other.jsonl.gz"
    other.write_bytes(b"x" * 100)
    room = 1 << 20
    batches = [noise(500, 500 * n) for n in range(20)]

    recorder = record(tmp_path, batches, max_bytes=room)
    other.unlink()

    sizes = [one.stat().st_size for one in tmp_path.iterdir()]
    assert recorder.size > 2 * room
    assert room / 2 < sum(sizes) <= room * 1.2
    found = events_of(tmp_path)
    assert found == [one for batch in batches for one in batch][-len(found) :]


def test_files_of_a_directory_go_on_without_a_break(tmp_path):
    """
    One header and one memory, although each file has its own.
    """
    record(tmp_path, [noise(500, 500 * n) for n in range(4)], max_bytes=1 << 20)
    assert len(list(tmp_path.iterdir())) > 1

    items = list(Recorded(tmp_path))

    assert [type(one) for one in items].count(Header) == 1
    assert [one.at_ns for one in items if isinstance(one, Event)] == list(range(2000))


def test_missing_file_begins_anew(tmp_path):
    """
    With what was known by then.
    """
    batches = [[*noise(999, 1000 * n), fork(n)] for n in range(4)]
    record(tmp_path, batches, max_bytes=1 << 20)
    sorted(tmp_path.iterdir())[1].unlink()

    items = list(Recorded(tmp_path))

    assert [one.sequence for one in items if isinstance(one, Header)] == [0, 2]
    known = [one.what for one in items if isinstance(one, Remembered)]
    assert [one.key.pid for one in known if isinstance(one, Process)] == [10, 11]
    assert [one.at_ns for one in items if isinstance(one, ProcessForked)] == [0, 2, 3]


def test_large_memory_does_not_make_files_of_nothing_else(tmp_path):
    """
    A host with many processes is remembered in each file: a file holds more than that.
    """
    host = HostContext()
    for n in range(20_000):
        host.observe(fork(n, comm=os.urandom(40).hex()))
    batches = [noise(10, 10 * n) for n in range(50)]

    record(tmp_path, batches, max_bytes=1 << 20, host=host)

    assert len(events_of(tmp_path)) == 500


def fork(number, comm="x"):
    """A new process."""
    return ProcessForked(
        at_ns=number, process=ProcessKey(10 + number, number), parent=ProcessKey(1, 1), uid=0,
        cgroup_id=0, comm=comm,
    )  # fmt: skip


def test_names_of_recordings_are_in_the_order_of_time_and_differ():
    """
    Making room goes by them.
    """
    assert re.fullmatch(r"\d{8}T\d{6}-[0-9a-f]{6}", new_run())
    assert new_run() != new_run()


def test_room_is_made_of_recordings_only(tmp_path):
    """
    The oldest first.
    """
    names = [f"firedamp-20261123T12000{n}-abcdef-000000.jsonl.gz" for n in range(3)]
    for name in [*names, "notes.txt"]:
        (tmp_path / name).write_bytes(b"x" * 100)

    make_room(tmp_path, 150)

    assert sorted(one.name for one in tmp_path.iterdir()) == [names[2], "notes.txt"]


def test_single_file_says_when_it_is_full(file):
    """
    Whoever writes ends it then.
    """
    recorder = Recorder(file, HEADER, Masks(), max_bytes=100_000)
    recorder.write(noise(10, 0), HostContext())
    assert not recorder.is_full

    recorder.write(noise(2000, 10), HostContext())

    assert recorder.is_full
    recorder.close()
