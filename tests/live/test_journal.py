# SPDX-License-Identifier: Apache-2.0
"""Alerts in a real journald, which runs by itself in a mount namespace of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.live

JOURNALD = Path("/lib/systemd/systemd-journald")
TELLER = Path(__file__).parent / "programs" / "teller.py"
DAEMON = Path(__file__).parents[2] / "daemon"
SET_UP = """
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal /run/log/journal
cat >/run/conf <<END
[Journal]
Storage=volatile
ReadKMsg=no
Audit=no
RateLimitIntervalSec=0
END
mount --bind /run/conf /etc/systemd/journald.conf
echo ready
exec sleep infinity
"""


def missing() -> str:
    """What this host lacks; empty where it lacks nothing."""
    if os.geteuid() != 0:
        return "needs root"
    if not JOURNALD.exists() or not Path("/etc/systemd/journald.conf").exists():
        return "needs systemd-journald"
    machine_id = Path("/etc/machine-id")
    if not machine_id.exists() or not machine_id.read_text().strip():
        return "needs /etc/machine-id"
    tried = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/run"],
        capture_output=True,
        check=False,
    )
    return "needs a mount namespace" if tried.returncode else ""


class Teller:
    """The program that tells alerts, inside."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self._child = child

    def say(self, command: str) -> dict[str, object]:
        """Have it do something; what it says of its outputs then."""
        self._child.stdin.write(f"{command}\n")
        self._child.stdin.flush()
        return json.loads(self._child.stdout.readline())


class JournalHost:
    """A corner of this machine where a journal runs."""

    def __init__(self, anchor: int, directory: Path) -> None:
        self._anchor = anchor
        self._children: list[subprocess.Popen[str]] = []
        self.file = directory / "alerts.jsonl"
        self.journald: subprocess.Popen[str]

    def spawn(self, *command: str) -> subprocess.Popen[str]:
        """Start a command inside."""
        child = subprocess.Popen(
            ["nsenter", "--target", str(self._anchor), "--mount", "--", *command],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(DAEMON)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._children.append(child)
        return child

    def run(self, *command: str) -> list[str]:
        """The lines that a command prints inside."""
        out, _ = self.spawn(*command).communicate(timeout=20)
        return out.splitlines()

    def start_journald(self) -> None:
        """Start the journal, and wait until it answers."""
        self.journald = self.spawn(str(JOURNALD))
        code = "from firedamp.alerts.journal import is_answering; print(is_answering())"
        until = time.monotonic() + 10
        while self.run(sys.executable, "-c", code) != ["True"]:
            assert time.monotonic() < until, "journald does not start"

    def teller(self) -> Teller:
        """A program that tells alerts."""
        return Teller(self.spawn(sys.executable, str(TELLER), str(self.file)))

    def entries(self) -> list[dict[str, object]]:
        """What journalctl shows under our name."""
        return [
            json.loads(one)
            for one in self.run("journalctl", "-o", "json", "--all", "-t", "firedamp")
        ]

    def messages(self, count: int) -> list[dict[str, object]]:
        """The entries, once there are so many."""
        until = time.monotonic() + 10
        while len(found := self.entries()) < count and time.monotonic() < until:
            time.sleep(0.05)
        return found

    def alerts(self, *options: str) -> list[str]:
        """What `firedamp alerts` prints."""
        return self.run(sys.executable, "-m", "firedamp", "alerts", *options)

    def close(self) -> None:
        """End everything that was started, by its own handle."""
        for child in self._children:
            child.kill()
            child.communicate()


@pytest.fixture
def host(tmp_path) -> Iterator[JournalHost]:
    """A corner with a running journal."""
    if lacks := missing():
        pytest.skip(lacks)
    with subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", SET_UP],
        stdout=subprocess.PIPE,
        text=True,
    ) as anchor:
        assert anchor.stdout.readline() == "ready\n"
        host = JournalHost(anchor.pid, tmp_path)
        try:
            host.start_journald()
            yield host
        finally:
            host.close()
            anchor.kill()


def test_alert_is_read_back_as_an_administrator_would(host):
    """
    By journalctl with its fields, and by `firedamp alerts`, readably and as it was sent.
    """
    host.teller().say("alert ./kswapd0 -o pool")

    [entry] = host.messages(1)
    document = json.loads(entry["FIREDAMP_ALERT"])
    assert entry["MESSAGE"] == (
        "kswapd0 (/tmp/.x/kswapd0, pid 4711, www-data) logged in to a mining pool at "
        "203.0.113.7:3333 (stratum-monero) [Process speaks the Stratum mining protocol] "
        "— would freeze, kill"
    )
    assert entry["MESSAGE_ID"] == "8d59ab761608432d9d399d9f57cbc795"
    assert (entry["PRIORITY"], entry["SYSLOG_IDENTIFIER"]) == ("2", "firedamp")
    assert entry["FIREDAMP_ACTION"] == ["freeze", "kill"]
    assert document["rule"]["id"] == entry["FIREDAMP_RULE_ID"]
    assert [json.loads(one) for one in host.alerts("--json")] == [document]
    shown = host.alerts()
    assert f"CRITICAL {entry['MESSAGE']}" in shown[0]
    assert "incident 3f2a" in shown[1]


def test_matches_of_the_journal_find_it(host):
    """
    Each field can be asked for, an action by itself too.
    """
    host.teller().say("alert x")
    host.messages(1)

    for match in ("FIREDAMP_LEVEL=critical", "FIREDAMP_ACTION=kill", "FIREDAMP_INCIDENT=3f2a"):
        assert len(host.run("journalctl", "-o", "cat", match)) == 1
    assert host.run("journalctl", "-q", "-o", "cat", "FIREDAMP_LEVEL=low") == []


def test_large_alert_arrives_whole(host):
    """
    More than a datagram takes, and more than a reader asks for by itself.
    """
    host.teller().say("large 300000")
    host.messages(1)

    [line] = host.alerts("--json")

    assert json.loads(line)["process"]["command_line"] == "x" * 300_000


@pytest.mark.parametrize("left", ["its socket", "nothing"])
def test_restart_of_the_journal_loses_no_alert(host, left):
    """
    Not even where it was killed and stayed away for a while. libsystemd itself drops what is
    sent while there is no socket, without an error.
    """
    teller = host.teller()
    teller.say("alert one")
    host.messages(1)
    host.journald.kill()
    host.journald.wait()
    if left == "nothing":
        host.run("rm", "/run/systemd/journal/socket")
    assert teller.say("alert two")["journal_waiting"] == 1
    host.start_journald()

    status = teller.say("alert three")

    sent = [
        json.loads(one["FIREDAMP_ALERT"])["process"]["command_line"] for one in host.messages(3)
    ]
    assert sent == ["one", "two", "three"]
    assert (status["journal_waiting"], status["journal_lost"]) == (0, 0)


def test_journal_that_hangs_does_not_hang_us(host):
    """
    More alerts than its socket's queue takes: they wait here, and arrive in their order.
    """
    teller = host.teller()
    teller.say("alert first")
    host.messages(1)
    host.journald.send_signal(signal.SIGSTOP)
    before = time.monotonic()
    waiting = teller.say("burst 1500")["journal_waiting"]
    took = time.monotonic() - before
    host.journald.send_signal(signal.SIGCONT)
    while teller.say("flush")["journal_waiting"]:
        time.sleep(0.01)

    arrived = [json.loads(one["FIREDAMP_ALERT"]) for one in host.messages(1501)][1:]
    lines = [one["process"]["command_line"] for one in arrived]
    assert lines == [f"burst {number}" for number in range(1500)]
    assert waiting > 0
    assert took < 10


def test_following_shows_an_alert_as_it_comes(host):
    """
    Through the journal, within a second.
    """
    teller = host.teller()
    teller.say("alert old")
    host.messages(1)
    follow = host.spawn(sys.executable, "-m", "firedamp", "alerts", "-f", "--json")
    assert json.loads(follow.stdout.readline())["process"]["command_line"] == "old"

    before = time.monotonic()
    teller.say("alert new")

    assert json.loads(follow.stdout.readline())["process"]["command_line"] == "new"
    assert time.monotonic() - before < 1


def test_entries_that_others_forge_are_no_alerts(host):
    """
    Any account can write to the journal under our name.
    """
    forged = 'FIREDAMP_ALERT={"message":"forged","firedamp":{"kind":"alert"}}'
    fields = f"'MESSAGE=x', 'SYSLOG_IDENTIFIER=firedamp', {forged!r}"
    code = f"from systemd import journal; journal.sendv({fields})"
    nobody = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    host.run(*nobody, "/usr/bin/python3", "-c", code)
    host.teller().say("alert real")
    assert len(host.messages(2)) == 2

    [line] = host.alerts("--json")

    assert json.loads(line)["process"]["command_line"] == "real"


def test_log_of_the_daemon_is_in_the_journal_and_no_alert(host):
    """
    With its facts as fields.
    """
    host.teller().say("log")

    [entry] = host.messages(1)
    assert entry["MESSAGE"] == "records_lost source=bpf lost=3"
    assert (entry["FIREDAMP_LOG"], entry["FIREDAMP_LOST"]) == ("records_lost", "3")
    assert host.alerts() == []
