# SPDX-License-Identifier: Apache-2.0
import contextlib
import socket

import pytest

from firedamp.alerts.journal import Journal, is_answering


class FakeJournal:
    """A journal that can be away, take nothing, or take all but some entries."""

    def __init__(self) -> None:
        self.here = True
        self.errors: list[Exception] = []
        self.got: list[str] = []

    def ready(self) -> bool:
        """Whether somebody listens."""
        return self.here

    def send(self, *lines: str) -> None:
        """Take an entry, or fail as told."""
        if self.errors:
            raise self.errors.pop(0)
        self.got.append(lines[0])


@pytest.fixture
def fake() -> FakeJournal:
    """The other end."""
    return FakeJournal()


@pytest.fixture
def journal(fake) -> Journal:
    """A way into the fake, with room for three."""
    return Journal(ready=fake.ready, send=fake.send, max_waiting=3)


def test_entries_wait_for_the_journal_in_their_order(journal, fake):
    """
    A restart of journald loses nothing.
    """
    fake.here = False
    journal.write_lines(["a"])
    journal.write_lines(["b"])
    fake.here = True
    journal.write_lines(["c"])

    assert fake.got == ["a", "b", "c"]
    assert (journal.waiting, journal.lost) == (0, 0)


def test_flush_sends_what_waits_without_a_new_entry(journal, fake):
    """
    The last alert before a silence must not wait for the next one.
    """
    fake.here = False
    journal.write_lines(["a"])
    fake.here = True

    journal.flush()

    assert fake.got == ["a"]


def test_journal_that_goes_away_while_sending_loses_nothing(journal, fake):
    """
    It was there when asked, and is not when told.
    """
    fake.errors = [ConnectionRefusedError()]

    journal.write_lines(["a"])
    journal.write_lines(["b"])

    assert fake.got == ["a", "b"]


def test_what_does_not_fit_is_counted_and_told(journal, fake):
    """
    The first entries stay, and the journal learns how many are missing.
    """
    fake.here = False
    for name in "abcde":
        journal.write_lines([name])
    fake.here = True
    journal.flush()
    journal.flush()

    assert fake.got[:3] == ["a", "b", "c"]
    assert fake.got[3:] == ["MESSAGE=2 entries did not reach the journal; see the alerts file"]
    assert journal.lost == 2


def test_entry_that_is_never_taken_does_not_block_the_others(journal, fake):
    """
    Whether refused outright or again and again.
    """
    fake.errors = [ValueError()]
    journal.write_lines(["refused"])
    fake.errors = [OSError()] * 10
    journal.write_lines(["too much"])
    for _ in range(10):
        journal.flush()
    journal.write_lines(["next"])

    assert [line for line in fake.got if not line.startswith("MESSAGE=")] == ["next"]
    assert journal.lost == 2


def test_closing_counts_what_is_left(journal, fake):
    """
    What the journal never got is lost, and says so.
    """
    fake.here = False
    journal.write_lines(["a"])

    journal.close()

    assert journal.lost == 1


@pytest.fixture
def listener(tmp_path):
    """A socket where a journal could listen; (path, socket)."""
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
        own.bind(path)
        yield path, own


def test_socket_that_somebody_listens_at_answers(listener):
    """
    A journal is running.
    """
    assert is_answering(listener[0])


def test_socket_file_that_was_left_behind_does_not_answer(listener):
    """
    A file is not a journal.
    """
    listener[1].close()

    assert not is_answering(listener[0])
    assert not is_answering(f"{listener[0]}.missing")


def test_journal_that_has_stopped_reading_does_not_answer(listener):
    """
    A hung journald must not hang the daemon: its queue is full, so entries wait with us.
    """
    path, own = listener
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as writer:
        writer.connect(path)
        writer.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            for _ in range(100_000):
                writer.send(b"x")

        assert not is_answering(path)
        with contextlib.suppress(BlockingIOError):
            while own.recv(1, socket.MSG_DONTWAIT):
                pass
        assert is_answering(path)
