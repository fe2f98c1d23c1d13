# SPDX-License-Identifier: Apache-2.0

import argparse
import json
import time

import pytest

from firedamp.cli import undo
from firedamp.errors import ControlUnavailable
from firedamp.response.base import Receipt
from firedamp.response.ledger import Cause, Ledger

HOUR_NS = 3600 * 1_000_000_000


@pytest.fixture
def config(tmp_path):
    """Settings with directories of the test's own."""
    path = tmp_path / "firedamp.yaml"
    path.write_text(f"state_directory: {tmp_path}/state\nruntime_directory: {tmp_path}/run\n")
    return path


@pytest.fixture
def command(config):
    """Run the command with these words."""

    def run(*words):
        parser = argparse.ArgumentParser()
        undo.add_parser(parser.add_subparsers())
        args = parser.parse_args(["undo", *words, "--config", str(config)])
        return args.run(args)

    return run


@pytest.fixture
def daemon(monkeypatch):
    """A daemon that answers as it is told to, and remembers what it was asked."""
    asked = []

    def request(verb, **arguments):
        asked.append((verb, arguments))
        return {"receipts": request.receipts}

    request.receipts = []
    monkeypatch.setattr("firedamp.control.client.request", request)
    return request, asked


@pytest.fixture
def no_daemon(monkeypatch):
    """Nobody listens on the control socket."""

    def request(verb, **arguments):
        raise ControlUnavailable("no daemon")

    monkeypatch.setattr("firedamp.control.client.request", request)


def test_running_daemon_is_asked(command, daemon, capsys, tmp_path):
    """
    It holds what is frozen; the command shows what it says.
    """
    request, asked = daemon
    request.receipts = [
        Receipt(action="freeze", outcome="undone", target="pid 1", reason="r").to_json()
    ]

    assert command("17", "--force") == 0

    [(verb, arguments)] = asked
    assert verb == "undo"
    assert arguments["number"] == 17
    assert arguments["force"]
    assert arguments["at"] == tmp_path / "run/control.sock"
    assert capsys.readouterr().out == "freeze pid 1: undone: r\n"


def test_words_that_are_no_number_name_an_incident(command, daemon):
    """
    Incidents are named by letters and digits.
    """
    command("8d1f-x")

    assert daemon[1][0][1]["incident"] == "8d1f-x"


@pytest.mark.parametrize(("text", "age_s"), [("90s", 90), ("2h", 7200), ("1d", 86_400)])
def test_age_is_a_time(command, daemon, text, age_s):
    """
    Counted back from now.
    """
    command("--since", text)

    age_ns = time.time_ns() - daemon[1][0][1]["since_ns"]
    assert age_ns == pytest.approx(age_s * 1_000_000_000, abs=5e9)


def test_date_is_a_time(command, daemon):
    """
    With its zone, where it names one.
    """
    command("--since", "2026-11-23T03:00+00:00")

    assert daemon[1][0][1]["since_ns"] == 1_795_402_800 * 1_000_000_000


@pytest.mark.parametrize("words", [("--since", "yesterday"), (), ("1", "--since", "1h")])
def test_wrong_use_is_told(command, daemon, words):
    """
    Before anything is asked of anybody.
    """
    with pytest.raises(SystemExit) as ended:
        command(*words)

    assert ended.value.code == 2
    assert daemon[1] == []


@pytest.mark.parametrize("outcome", ["failed", "refused"])
def test_what_was_not_taken_back_shows_in_the_status(command, daemon, outcome):
    """
    So that a script notices.
    """
    daemon[0].receipts = [{"action": "block", "outcome": outcome, "target": "a", "reason": ""}]

    assert command("1") == 1


@pytest.mark.usefixtures("no_daemon")
def test_without_a_daemon_the_ledger_is_used(command, tmp_path, capsys):
    """
    What is written there is all that undoing needs.
    """
    (tmp_path / "state").mkdir()
    ledger = Ledger(tmp_path / "state/ledger.db")
    undo_facts = {"processes": [[999_999_999, 1]]}
    done = Receipt(action="freeze", outcome="done", target="pid 999999999", undo=undo_facts)
    number = ledger.record(Cause(incident="i", policy="p", process="x"), done)

    assert command(str(number), "--json") == 0

    [receipt] = json.loads(capsys.readouterr().out)
    assert receipt["outcome"] == "undone"
    assert ledger.was_undone(number)
    ledger.close()


@pytest.mark.usefixtures("no_daemon")
def test_without_daemon_and_ledger_nothing_is_made(command, tmp_path, capsys):
    """
    A mistyped configuration must not leave an empty ledger behind.
    """
    assert command("1") == 1

    assert "ledger.db" in capsys.readouterr().err
    assert not (tmp_path / "state").exists()
