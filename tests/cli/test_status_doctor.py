# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from firedamp.cli.table import table
from firedamp.sources import doctor

HOOKS = [
    {
        "capability": "exec",
        "state": "ok",
        "hook": "raw tracepoint sched_process_exec",
        "blind": "arguments after the first 4,096 bytes; path parts above the 32nd",
        "better": "",
    },
    {
        "capability": "connect",
        "state": "fallback",
        "hook": "raw tracepoint inet_sock_set_state",
        "blind": "UDP; the owner of packets",
        "better": "mount cgroup v2",
    },
]


def test_status_is_one_readable_screen(firedamp, daemon):
    """
    Whatever groups the daemon reports: single values first, then the groups.
    """
    daemon["status"] = {
        "mode": "observe",
        "uptime_s": 93_784,
        "enforcing": False,
        "load": 0.123,
        "losses": {},
        "events": {"exec": 12, "per": {"connect": 3}},
        "outputs": ["journal", "file"],
        "pid": None,
    }

    ran = firedamp("status")

    assert ran.status == 0
    assert ran.out.splitlines() == [
        "mode       observe",
        "uptime     1 d 2 h",
        "enforcing  no",
        "load       0.12",
        "outputs    journal, file",
        "pid        -",
        "losses: none",
        "events:",
        "  exec  12",
        "  per:",
        "    connect  3",
    ]


def test_status_for_programs_is_the_daemon_s_own(firedamp, daemon):
    """
    Nothing is rounded or renamed.
    """
    daemon["status"] = {"mode": "enforce", "uptime_s": 5.25}

    assert json.loads(firedamp("status", "--json").out) == daemon["status"]


def test_status_without_a_daemon_has_a_status_of_its_own(firedamp):
    """
    So that a script can tell "down" from "ill".
    """
    ran = firedamp("status")

    assert ran.status == 3
    assert ran.err.startswith("firedamp: no daemon at ")
    assert ran.out == ""


def test_doctor_shows_every_capability_with_its_limits(firedamp, daemon):
    """
    The table of the running daemon; a fallback is no failure.
    """
    daemon["doctor"] = {"hooks": HOOKS}

    ran = firedamp("doctor")

    assert ran.status == 0
    words = " ".join(ran.out.split())
    for word in ("HOOK IN USE", "WHAT IT CANNOT SEE", "sched_process_exec", "fallback", "4,096"):
        assert word in words
    assert "tried, and taken out" not in words


def test_doctor_fails_where_a_capability_is_missing(firedamp, daemon):
    """
    Monitoring can watch the exit status.
    """
    daemon["doctor"] = {"hooks": [*HOOKS, {"capability": "deny", "state": "missing"}]}

    assert firedamp("doctor", "--json").status == 1


def test_doctor_tries_the_hooks_where_no_daemon_runs(firedamp, monkeypatch):
    """
    And says that it did.
    """
    monkeypatch.setattr(doctor, "report", lambda settings: HOOKS)

    ran = firedamp("doctor")
    as_json = json.loads(firedamp("doctor", "--json").out)

    assert (ran.status, "tried, and taken out again" in ran.out) == (0, True)
    assert as_json == {"origin": "dry start", "hooks": HOOKS}


@pytest.mark.parametrize("width", [80, 100, 200])
def test_table_fits_the_terminal(width):
    """
    Long cells are broken into lines, and no word is lost.
    """
    rows = [["a", "word " * 40, "x" * 30], ["bb", "", "short"]]

    lines = list(table(["ONE", "TWO", "THREE"], rows, width=width))

    assert max(map(len, lines)) <= width
    assert " ".join(lines).count("word") == 40
    assert lines[0].startswith("ONE  TWO")


def test_narrow_columns_give_their_room_to_wide_ones():
    """
    A word stays whole where another column has room to spare.
    """
    lines = list(table(["A", "B"], [["x", "y" * 70]], width=80))

    assert lines[2] == f"x  {'y' * 70}"
