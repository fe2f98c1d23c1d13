# SPDX-License-Identifier: Apache-2.0
import json
import os
import stat

import pytest

from firedamp.alerts.entries import Entry
from firedamp.alerts.jsonl import JsonLinesFile, JsonLinesStream


def entry(number: int) -> Entry:
    """An entry whose line is 100 bytes long."""
    document = {"n": number, "pad": ""}
    document["pad"] = "x" * (99 - len(json.dumps(document, separators=(",", ":"))))
    return Entry(kind="alert", message="m", priority=2, fields=(), document=document)


def numbers(path) -> list[int]:
    """Which entries a file holds."""
    return [json.loads(line)["n"] for line in path.read_text().splitlines()]


@pytest.fixture
def path(tmp_path):
    """Where the file is to be, in a directory that is not there yet."""
    return tmp_path / "state" / "alerts.jsonl"


@pytest.fixture
def lines(path):
    """The file, with room for ten entries."""
    output = JsonLinesFile(path, max_bytes=1000)
    yield output
    output.close()


def test_each_entry_is_a_line_that_only_root_reads(lines, path):
    """
    Command lines hold passwords.
    """
    lines.write(entry(1))
    lines.write(entry(2))

    assert numbers(path) == [1, 2]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_full_file_is_set_aside(lines, path):
    """
    At most twice the size is ever on the disk.
    """
    for number in range(25):
        lines.write(entry(number))

    assert numbers(path) == [20, 21, 22, 23, 24]
    assert numbers(path.with_name("alerts.jsonl.1")) == [*range(10, 20)]


def test_file_is_continued_after_a_restart(lines, path):
    """
    Nothing is truncated, and its size counts.
    """
    for number in range(10):
        lines.write(entry(number))
    lines.close()

    again = JsonLinesFile(path, max_bytes=1000)
    again.write(entry(10))
    again.close()

    assert numbers(path) == [10]


@pytest.mark.parametrize("away", ["moved", "deleted"])
def test_file_that_somebody_took_away_is_made_again(lines, path, away):
    """
    An administrator's logrotate needs no signal, and a deleted file takes no alert with it.
    """
    lines.write(entry(1))
    path.rename(path.with_name("moved"))
    if away == "deleted":
        path.with_name("moved").unlink()
    lines.write(entry(2))

    assert numbers(path) == [2]


def test_line_that_broke_off_spoils_no_other(lines, path, monkeypatch):
    """
    The disk was full for a moment.
    """
    write = os.write

    def torn(descriptor, data):
        monkeypatch.setattr(os, "write", full)
        return write(descriptor, data[:30])

    def full(descriptor, data):
        monkeypatch.setattr(os, "write", write)
        raise OSError("no space left on device")

    lines.write(entry(1))
    monkeypatch.setattr(os, "write", torn)
    with pytest.raises(OSError, match="no space"):
        lines.write(entry(2))
    lines.write(entry(3))

    first, broken, third = path.read_text().splitlines()
    assert [json.loads(one)["n"] for one in (first, third)] == [1, 3]
    assert len(broken) == 30


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_only_a_regular_file_is_written_to(lines, path, tmp_path, kind):
    """
    Neither a link to elsewhere nor a FIFO that would hold the daemon up.
    """
    path.parent.mkdir()
    if kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()

    with pytest.raises(OSError):  # noqa: PT011 - whichever of the ways it is refused
        lines.write(entry(1))
    assert not (tmp_path / "elsewhere").exists()


def test_stream_gets_the_same_lines():
    """
    Where no journal runs, standard output is read by whatever started the daemon.
    """
    reader, writer = os.pipe()
    JsonLinesStream(writer).write(entry(7))
    os.close(writer)

    with os.fdopen(reader) as stream:
        assert json.loads(stream.read())["n"] == 7
