# SPDX-License-Identifier: Apache-2.0
import json
import os
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from firedamp.alerts import journal as journal_module
from firedamp.alerts.stored import FileStore, JournalStore
from firedamp.cli.when import point_in_time

DAEMON = Path(__file__).parents[2] / "daemon"


def line(number: int, level: str = "high", kind: str = "alert") -> str:
    """One stored document, `number` seconds after noon."""
    return json.dumps(
        {
            "@timestamp": f"2026-11-23T12:00:{number:02}.000000Z",
            "message": f"m{number}",
            "firedamp": {"kind": kind, "level": level, "incident": "i"},
        }
    )


@pytest.fixture
def state(tmp_path, monkeypatch) -> Path:
    """The file where the settings have it, on a machine without a journal."""
    monkeypatch.setattr(journal_module, "is_answering", lambda: False)
    path = tmp_path / "state" / "alerts.jsonl"
    path.parent.mkdir()
    return path


def messages(ran) -> list[str]:
    """What `--json` printed."""
    return [json.loads(one)["message"] for one in ran.out.splitlines()]


def test_last_twenty_are_shown_oldest_first(firedamp, state):
    """
    As a log is read: the newest stands next to the prompt.
    """
    state.write_text("".join(f"{line(number)}\n" for number in range(30)))

    assert messages(firedamp("alerts", "--json")) == [f"m{n}" for n in range(10, 30)]
    assert messages(firedamp("alerts", "--json", "-n", "2")) == ["m28", "m29"]


def test_file_that_was_set_aside_counts(firedamp, state):
    """
    A rotation a second ago does not empty the list.
    """
    state.with_name("alerts.jsonl.1").write_text(f"{line(1)}\n")
    state.write_text(f"{line(2)}\n")

    assert messages(firedamp("alerts", "--json")) == ["m1", "m2"]


def test_level_is_a_lower_bound(firedamp, state):
    """
    Entries without a level are not alerts.
    """
    levels = ["low", "medium", "high", "critical"]
    stored = [line(number, level) for number, level in enumerate(levels)]
    state.write_text("\n".join([*stored, '{"message":"m9","firedamp":{"kind":"loss"}}', ""]))

    assert messages(firedamp("alerts", "--json", "--level", "high")) == ["m2", "m3"]
    assert len(messages(firedamp("alerts", "--json"))) == 5


def test_since_lifts_the_count(firedamp, state):
    """
    All since then, however many.
    """
    state.write_text("".join(f"{line(number)}\n" for number in range(50)))

    ran = firedamp("alerts", "--json", "--since", "2026-11-23T12:00:05+00:00")

    assert messages(ran) == [f"m{n}" for n in range(5, 50)]


def test_text_is_what_the_console_shows_with_the_date(firedamp, state):
    """
    Live and stored alerts look the same.
    """
    state.write_text(f"{line(1)}\n")

    ran = firedamp("alerts")

    assert ran.out.splitlines()[0].endswith(" HIGH m1")
    assert ran.out[:5] == "2026-"
    assert "\x1b" not in ran.out


def test_broken_lines_are_passed_over(firedamp, state):
    """
    A full disk left half a line behind.
    """
    state.write_text(f'{line(1)}\n{{"mess\n[1]\n{"[" * 100_000}\n{line(2)}\n')

    assert messages(firedamp("alerts", "--json")) == ["m1", "m2"]


def test_no_alerts_are_no_problem(firedamp, state):
    """
    Neither an empty nor an absent file.
    """
    ran = firedamp("alerts")

    assert (ran.status, ran.out) == (0, "")


def test_file_that_was_named_must_be_there(firedamp):
    """
    A typing error must not look like silence.
    """
    ran = firedamp("alerts", "--file", "/nonexistent/x")

    assert ran.status == 1
    assert "there is no file /nonexistent/x" in ran.err


@pytest.fixture
def following(tmp_path):
    """The messages that `firedamp alerts --follow` prints of a file that holds one."""
    path = tmp_path / "alerts.jsonl"
    path.write_text(f"{line(0)}\n")
    command = [sys.executable, "-m", "firedamp", "alerts", "-f", "--json", "--file", str(path)]
    with subprocess.Popen(
        command, env={"PYTHONPATH": str(DAEMON)}, stdout=subprocess.PIPE, text=True
    ) as child:
        yield path, (json.loads(one)["message"] for one in child.stdout)
        child.kill()


@pytest.mark.timeout(20)
def test_following_shows_new_lines_across_a_rotation(following):
    """
    Each once, in order, and none before it is whole.
    """
    path, seen = following
    assert next(seen) == "m0"

    with path.open("a") as stream:
        stream.write(line(1)[:20])
        stream.flush()
        time.sleep(0.5)
        stream.write(f"{line(1)[20:]}\n")
    assert next(seen) == "m1"
    path.rename(path.with_name("alerts.jsonl.1"))
    path.write_text("".join(f"{line(number)}\n" for number in (2, 3, 4)))
    assert [next(seen) for _ in range(3)] == ["m2", "m3", "m4"]


class FakeReader:
    """Entries as libsystemd's reader gives them."""

    def __init__(self, entries: list[dict[str, object]]) -> None:
        self.entries = entries
        self.matches: list[str] = []
        self.at = 0
        self.data_threshold = 65536

    def add_match(self, match: str) -> None:
        self.matches.append(match)

    def seek_tail(self) -> None:
        self.at = len(self.entries)

    def seek_head(self) -> None:
        self.at = -1

    def seek_cursor(self, cursor: int) -> None:
        self.at = cursor - 1

    def get_previous(self) -> dict[str, object]:
        self.at -= 1
        return self.entries[self.at] if self.at >= 0 else {}

    def get_next(self) -> dict[str, object]:
        if self.at + 1 >= len(self.entries):
            return {}
        self.at += 1
        return self.entries[self.at]

    def wait(self, _timeout: float) -> None:
        self.entries.append(entry(len(self.entries)))


def entry(number: int) -> dict[str, object]:
    """One entry, `number` seconds after noon."""
    at = datetime(2026, 11, 23, 12, 0, number)  # noqa: DTZ001 - local, as the reader gives it
    return {
        "__CURSOR": number,
        "__REALTIME_TIMESTAMP": at,
        "FIREDAMP_ALERT": line(number),
    }


def test_journal_counts_only_what_root_or_we_wrote():
    """
    `logger -t firedamp` by anybody is no alert. Long alerts come whole.
    """
    reader = FakeReader([])
    JournalStore(reader)

    uids = {match for match in reader.matches if match.startswith("_UID=")}
    assert uids == {"_UID=0", f"_UID={os.geteuid()}"}
    assert "SYSLOG_IDENTIFIER=firedamp" in reader.matches
    assert reader.data_threshold == 0


@pytest.mark.parametrize("stored", [0, 1, 5])
def test_journal_is_followed_without_gap_or_repetition(stored):
    """
    What comes after the newest entry at the time of the look.
    """
    reader = FakeReader([entry(number) for number in range(stored)])
    store = JournalStore(reader)

    last = store.last(3, None, lambda _: True)
    reader.entries.append(entry(stored))
    follow = store.follow(lambda _: True)
    new = [next(follow)["message"] for _ in range(2)]

    assert [one["message"] for one in last] == [f"m{n}" for n in range(stored)][-3:]
    assert new == [f"m{stored}", f"m{stored + 1}"]


def test_journal_is_read_back_to_a_time_only():
    """
    Entries of the daemon's log, which hold no document, are passed over.
    """
    entries = [entry(number) for number in range(10)]
    del entries[8]["FIREDAMP_ALERT"]
    since = datetime(2026, 11, 23, 12, 0, 7).astimezone()

    found = JournalStore(FakeReader(entries)).last(None, since, lambda _: True)

    assert [one["message"] for one in found] == ["m7", "m9"]


def test_file_that_shrank_is_read_from_its_start(tmp_path):
    """
    Somebody emptied it in place.
    """
    path = tmp_path / "f"
    path.write_text(f"{line(1)}\n{line(2)}\n")
    store = FileStore(path, sleep=lambda _: None)
    store.last(None, None, lambda _: True)
    path.write_text(f"{line(3)}\n")

    assert next(store.follow(lambda _: True))["message"] == "m3"


NOW = datetime(2026, 11, 23, 12, 30, 15, tzinfo=timezone(timedelta(hours=1)))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90s", "2026-11-23T12:28:45+01:00"),
        ("10min", "2026-11-23T12:20:15+01:00"),
        ("2h ago", "2026-11-23T10:30:15+01:00"),
        ("1d", "2026-11-22T12:30:15+01:00"),
        ("1w", "2026-11-16T12:30:15+01:00"),
        ("today", "2026-11-23T00:00:00+01:00"),
        ("Yesterday", "2026-11-22T00:00:00+01:00"),
        ("11:05", "2026-11-23T11:05:00+01:00"),
        ("2026-11-20", "2026-11-20T00:00:00+01:00"),
        ("2026-11-20 11:05", "2026-11-20T11:05:00+01:00"),
        ("2026-11-20T11:05:00Z", "2026-11-20T11:05:00+00:00"),
    ],
)
def test_times_are_understood_as_people_type_them(text, moment):
    """
    Ages, dates, times of today, in the zone of whoever asks.
    """
    assert point_in_time(text, NOW) == datetime.fromisoformat(moment)


@pytest.mark.parametrize("text", ["", "soon", "h", "1y", "25:00", "2026-13-01", "-1h", "9999999d"])
def test_what_is_no_time_is_refused(firedamp, text):
    """
    With examples of what would be.
    """
    with pytest.raises(ValueError, match="not a time"):
        point_in_time(text, NOW)
    ran = firedamp("alerts", f"--since={text}")
    assert (ran.status, "not a time" in ran.err) == (2, True)
