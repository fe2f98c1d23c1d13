# SPDX-License-Identifier: Apache-2.0
import json

import pytest
import structlog

from firedamp.alerts import sink as sink_module
from firedamp.alerts.entries import MESSAGE_IDS, journal_lines
from firedamp.alerts.sink import Sink
from firedamp.events.model import ProcessKey, RecordsLost
from firedamp.response.base import Receipt
from firedamp.settings import Alerts, Settings

LOSS = RecordsLost(at_ns=0, process=ProcessKey(0, 0), source="bpf", kind="exec", count=3)


class Shelf:
    """An output that keeps what it gets, or breaks."""

    name = "shelf"

    def __init__(self) -> None:
        self.entries = []
        self.broken = False

    def write(self, entry) -> None:
        if self.broken:
            raise OSError("broken")
        self.entries.append(entry)

    def flush(self) -> None:
        if self.broken:
            raise OSError("broken")

    def close(self) -> None:
        if self.broken:
            raise OSError("broken")


@pytest.fixture
def shelf() -> Shelf:
    """Where entries go."""
    return Shelf()


@pytest.fixture
def sink(shelf) -> Sink:
    """A sink with one output, on a host that was started at the epoch."""
    return Sink(Settings(), clock_offset=lambda: 0, outputs=[shelf])


def journal_fields(entry) -> dict[str, list[str]]:
    """An entry as the journal gets it."""
    fields: dict[str, list[str]] = {}
    for line in journal_lines(entry):
        name, _, value = line.partition("=")
        fields.setdefault(name, []).append(value)
    return fields


def test_alert_has_the_fields_that_administrators_match_on(sink, shelf, alert, decide, process):
    """
    Rule, level, incident, what would be done, and the whole alert as JSON.
    """
    sink.alert(alert(), process, decision=decide(alert()))

    [entry] = shelf.entries
    fields = journal_fields(entry)
    assert json.loads(fields.pop("FIREDAMP_ALERT")[0]) == entry.document
    assert fields.pop("MESSAGE")[0].endswith("— would freeze, kill")
    assert fields == {
        "PRIORITY": ["2"],
        "SYSLOG_IDENTIFIER": ["firedamp"],
        "MESSAGE_ID": ["8d59ab761608432d9d399d9f57cbc795"],
        "FIREDAMP_KIND": ["alert"],
        "FIREDAMP_RULE_ID": ["0f2d0000-0000-4000-8000-000000000000"],
        "FIREDAMP_RULE_TITLE": ["Process speaks the Stratum mining protocol"],
        "FIREDAMP_LEVEL": ["critical"],
        "FIREDAMP_INCIDENT": ["3f2a"],
        "FIREDAMP_PID": ["4711"],
        "FIREDAMP_MODE": ["observe"],
        "FIREDAMP_ACTION": ["freeze", "kill"],
    }


def test_action_has_its_outcome(sink, shelf, alert, decide):
    """
    A failed step is an error, whatever the alert was.
    """
    receipt = Receipt(action="kill", outcome="failed", target="pid 4711", reason="gone")

    sink.action(decide(alert(), "enforce"), receipt)

    fields = journal_fields(shelf.entries[0])
    assert fields["MESSAGE_ID"] == [MESSAGE_IDS["action"]]
    assert (fields["FIREDAMP_ACTION"], fields["FIREDAMP_OUTCOME"]) == (["kill"], ["failed"])
    assert (fields["PRIORITY"], fields["FIREDAMP_TARGET"]) == (["3"], ["pid 4711"])


def test_loss_and_notice_go_the_same_way(sink, shelf):
    """
    What the daemon has to say about itself is in the same places.
    """
    sink.loss(LOSS)
    sink.notice("breaker", "too many kills", kills=21)

    loss, notice = map(journal_fields, shelf.entries)
    assert (loss["PRIORITY"], loss["FIREDAMP_COUNT"]) == (["4"], ["3"])
    assert (notice["PRIORITY"], notice["FIREDAMP_KILLS"]) == (["2"], ["21"])
    assert notice["MESSAGE_ID"] == [MESSAGE_IDS["breaker"]]
    assert notice["MESSAGE"] == ["too many kills"]


def test_message_ids_are_different_and_well_formed():
    """
    Two kinds with one id could not be told apart.
    """
    assert len(set(MESSAGE_IDS.values())) == len(MESSAGE_IDS)
    assert all(len(bytes.fromhex(one)) == 16 for one in MESSAGE_IDS.values())


def test_broken_output_takes_nothing_else_along(shelf, alert, process):
    """
    It is counted each time and logged once, until it works again.
    """
    other = Shelf()
    other.name = "other"
    shelf.broken = True
    with structlog.testing.capture_logs() as logs:
        sink = Sink(Settings(), outputs=[shelf, other])
        for _ in range(3):
            sink.alert(alert(), process)
        sink.flush()
        shelf.broken = False
        sink.alert(alert(), process)
        sink.close()

    assert len(other.entries) == 4
    assert sink.failures == {"shelf": 4}
    assert [one["event"] for one in logs] == ["alert_output_failed", "alert_output_works_again"]


def test_alert_that_cannot_be_described_still_goes_out(sink, shelf, alert, process):
    """
    Better a bare fact than silence.
    """
    with structlog.testing.capture_logs() as logs:
        sink.alert(alert(fields={"Cores": float("nan")}), process)

    assert shelf.entries[0].message == (
        "policy 0f2d0000-0000-4000-8000-000000000000 matched pid 4711"
    )
    assert sink.failures == {"entry": 1}
    assert logs[0]["event"] == "entry_not_made"


@pytest.mark.parametrize(
    ("journal", "running", "console", "expected"),
    [
        ("auto", True, False, ["journal", "file"]),
        ("auto", False, False, ["stdout", "file"]),
        ("auto", True, True, ["journal", "console", "file"]),
        ("auto", False, True, ["console", "file"]),
        ("yes", False, False, ["journal", "file"]),
        ("no", True, False, ["file"]),
    ],
)
def test_settings_say_where_alerts_go(tmp_path, monkeypatch, journal, running, console, expected):  # noqa: PLR0917
    """
    The journal where one runs, a person's console instead of JSON, and the file in any case.
    """
    monkeypatch.setattr(sink_module, "is_answering", lambda: running)
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    settings = Settings(alerts=Alerts(journal=journal), state_directory=str(tmp_path))

    assert Sink(settings, console).status()["outputs"] == expected


def test_journal_that_restarts_at_the_moment_is_still_the_journal(tmp_path, monkeypatch):
    """
    Systemd says that it connected us with one.
    """
    monkeypatch.setattr(sink_module, "is_answering", lambda: False)
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")

    assert "journal" in Sink(Settings(state_directory=str(tmp_path))).status()["outputs"]


def test_file_is_where_the_settings_say(tmp_path, alert, process):
    """
    In the state directory, unless named.
    """
    for settings in (
        Settings(alerts=Alerts(journal="no"), state_directory=str(tmp_path / "a")),
        Settings(alerts=Alerts(journal="no", file=str(tmp_path / "b"))),
    ):
        sink = Sink(settings)
        sink.alert(alert(), process)
        sink.close()

    assert (tmp_path / "a" / "alerts.jsonl").read_text().count("\n") == 1
    assert (tmp_path / "b").read_text().count("\n") == 1


def test_wall_clock_is_boot_time_and_the_offset():
    """
    Both clocks are read now, so that a clock that is set makes no difference.
    """
    import time

    boot = time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    assert abs(boot + sink_module.wall_clock_offset() - time.time_ns()) < 1_000_000_000
