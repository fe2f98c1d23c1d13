# SPDX-License-Identifier: Apache-2.0
"""The package as an administrator meets it: installed, attacked, killed, upgraded, removed.

It is one machine's life, in this order: to boot one for each would take minutes.
"""

import json
import re
import subprocess

import pytest

from firedamp.alerts.entries import MESSAGE_IDS

from .conftest import install
from .machine import wait_for

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

LOGS_IN = "9d1f0b52-7c7e-4a86-8e0b-2f3a64d1c9e7"
POOL = """\
import socket
pool = socket.create_server(("203.0.113.7", 3333))
while True:
    pool.accept()[0].recv(1000)
"""
MINER = """\
import json, socket, time
pool = socket.create_connection(("203.0.113.7", 3333), timeout=10)
params = {"login": "4" + "TEST" * 23 + "xx", "pass": "x", "agent": "XMRig/6.21.0"}
pool.sendall(json.dumps({"id": 1, "jsonrpc": "2.0", "method": "login", "params": params}).encode())
pool.sendall(b"\\n")
time.sleep(300)
"""


def unit(machine, name: str, service="firedamp") -> str:
    """One property of a unit."""
    return machine.run("systemctl", "show", "--value", "-p", name, service).strip()


def entries(machine, *matches: str) -> list[dict[str, str]]:
    """What is in the journal."""
    lines = machine.run("journalctl", "-t", "firedamp", "-o", "json", *matches, check=False)
    return [json.loads(line) for line in lines.splitlines()]


def starts(machine) -> list[str]:
    """The entries that say that it watches now."""
    said = (entry["MESSAGE"] for entry in entries(machine))
    return [text for text in said if re.match(r"firedamp watches with \d+ policies", text)]


def restarted(machine, before: str) -> bool:
    """Whether another process does the work by now."""
    return unit(machine, "ActiveState") == "active" and unit(machine, "MainPID") != before


def test_installed_it_runs_and_observes(machine):
    """
    Nobody has to start, enable or configure anything, and nothing is acted on.
    """
    status = json.loads(machine.run("firedamp", "status", "--json"))

    assert unit(machine, "ActiveState") == "active"
    assert unit(machine, "UnitFileState") == "enabled"
    assert status["mode"] == "observe"
    assert len(starts(machine)) == 1
    assert starts(machine)[0].endswith("mode observe")


def test_sandbox_takes_no_hook_away(machine):
    """
    What the unit forbids is nothing that the daemon needs: it sees all that it can see here.
    """
    hooks = json.loads(machine.run("firedamp", "status", "--json"))["hooks"]

    assert {name: state for name, state in hooks.items() if state != "ok"} == {}


def test_policies_pass_their_tests_with_the_libraries_of_the_package(machine):
    """
    Those of the distribution that it relies on are other versions than those it was written with.
    """
    said = machine.run("firedamp", "policy", "test", "/usr/share/firedamp/policies")

    assert said.rstrip().endswith("all pass")


@pytest.fixture(scope="module")
def pool(machine):
    """A stand-in for a mining pool, at an address that is not the machine's own."""
    for words in (
        "netns add pool",
        "link add outside type veth peer name eth0 netns pool",
        "address add 203.0.113.1/24 dev outside",
        "link set outside up",
        "-n pool address add 203.0.113.7/24 dev eth0",
        "-n pool link set eth0 up",
    ):
        machine.run("ip", *words.split())
    machine.write("/srv/pool.py", POOL)
    enter = ("/usr/bin/nsenter", "--net=/run/netns/pool")
    machine.run("systemd-run", "-q", "-u", "pool", *enter, "/usr/bin/python3", "/srv/pool.py")
    wait_for(lambda: "3333" in machine.run("ip", "netns", "exec", "pool", "ss", "-ltn"), "pool")


def start_miner(machine, name: str) -> None:
    """Under the name of a program of its own, in a hidden directory, as a hacked service would."""
    machine.write("/srv/.x/config.py", MINER)
    if not (machine.root / "srv/.x/worker").exists():
        machine.run("cp", "/usr/bin/python3", "/srv/.x/worker")
        machine.run("chown", "-R", "www-data:", "/srv/.x")
    run = ("systemd-run", "-q", "-u", name, "-p", "User=www-data")
    machine.run(*run, "/srv/.x/worker", "/srv/.x/config.py")


def test_login_of_a_miner_is_an_alert_in_the_journal_and_no_more(machine, pool):
    """
    Observing, it says who it was, and lets it live.
    """
    start_miner(machine, "miner")

    alerts = wait_for(lambda: entries(machine, f"FIREDAMP_RULE_ID={LOGS_IN}"), "alert")

    assert "logged in to a mining pool at 203.0.113.7:3333" in alerts[0]["MESSAGE"]
    pid = json.loads(alerts[0]["FIREDAMP_ALERT"])["process"]["pid"]
    assert str(pid) == unit(machine, "MainPID", "miner")
    assert unit(machine, "ActiveState", "miner") == "active"
    machine.run("systemctl", "stop", "miner")


def test_allowed_to_act_it_kills_quarantines_and_blocks_and_takes_it_back(machine, pool):
    """
    The sandbox of the unit leaves room for all that a policy may ask for, and for its undoing.
    """
    worker = machine.root / "srv/.x/worker"
    before = worker.read_bytes()
    machine.write("/etc/firedamp/conf.d/act.yaml", f"policies: {{enforce: [{LOGS_IN}]}}\n")
    machine.run("firedamp", "check")
    machine.run("systemctl", "reload", "firedamp")
    wait_for(lambda: entries(machine, f"MESSAGE_ID={MESSAGE_IDS['reloaded']}"), "reload")

    start_miner(machine, "killed")
    wait_for(lambda: unit(machine, "Result", "killed") == "signal", "death of the miner")
    wait_for(lambda: not worker.exists(), "quarantine")
    blocked = machine.run("nft", "list", "table", "inet", "firedamp")
    machine.run("firedamp", "undo", "--since", "1h")

    assert "203.0.113.7" in blocked
    assert worker.read_bytes() == before
    assert worker.owner() == "www-data"
    assert "203.0.113.7" not in machine.run("nft", "list", "table", "inet", "firedamp")


def test_killed_it_comes_back_and_says_so(machine):
    """
    Whoever sends SIGKILL wins a few seconds.
    """
    before, told = unit(machine, "MainPID"), len(starts(machine))

    machine.run("systemctl", "kill", "-s", "KILL", "firedamp")

    wait_for(lambda: restarted(machine, before), "restart")
    wait_for(lambda: len(starts(machine)) == told + 1, "word of it")
    assert unit(machine, "NRestarts") == "1"


def test_stopped_in_its_tracks_it_is_replaced_by_the_watchdog(machine):
    """
    SIGSTOP leaves a process that only looks alive.
    """
    before = unit(machine, "MainPID")

    machine.run("systemctl", "kill", "--kill-whom=main", "-s", "STOP", "firedamp")

    wait_for(lambda: restarted(machine, before), "restart", seconds=120)


def newer(package, directory):
    """The same package as its next version."""
    subprocess.run(["dpkg-deb", "--raw-extract", package, directory / "tree"], check=True)
    control = directory / "tree" / "DEBIAN" / "control"
    version = re.compile(r"^Version: (.*)$", re.MULTILINE)
    control.write_text(version.sub(r"Version: \1+next", control.read_text()))
    built = directory / "next.deb"
    build = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", directory / "tree", built]
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
    return built


def test_upgrade_keeps_what_the_administrator_wrote(machine, package, tmp_path):
    """
    Settings and filters stay, and the new version is the one that runs.
    """
    machine.write("/etc/firedamp/firedamp.yaml", "allow: {units: [render.service]}\n")
    machine.write("/etc/firedamp/conf.d/site.yaml", "alerts: {max_file_mb: 1}\n")
    before = unit(machine, "MainPID")

    install(machine, newer(package, tmp_path))

    version = machine.run("dpkg-query", "-W", "-f", "${Version}", "firedamp")
    kept = machine.root / "etc" / "firedamp"
    assert version.endswith("+next")
    assert (kept / "firedamp.yaml").read_text() == "allow: {units: [render.service]}\n"
    assert (kept / "conf.d" / "site.yaml").read_text() == "alerts: {max_file_mb: 1}\n"
    assert restarted(machine, before)


def test_configured_anew_it_stays_disabled(machine):
    """
    An administrator who has stopped and disabled it is not overruled.
    """
    machine.run("systemctl", "disable", "--now", "firedamp")

    machine.run("dpkg-reconfigure", "firedamp")
    stayed = unit(machine, "ActiveState"), unit(machine, "UnitFileState")
    machine.run("systemctl", "enable", "--now", "firedamp")

    assert stayed == ("inactive", "disabled")


def processes(machine) -> list[str]:
    """The command lines in there that are ours."""
    look = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -o '/usr/[^ ]*firedamp[^ ]*'"
    return machine.run("sh", "-c", look, check=False).split()


def test_removed_it_keeps_settings_and_state_and_lets_nothing_run(machine):
    """
    Its table goes, with the blocks in it, since nothing is left that could lift them; tables of
    others stay.
    """
    assert processes(machine) != []
    machine.run("nft", "add table inet firedamp; add table inet another")

    machine.run("apt-get", "remove", "-y", "firedamp")

    assert processes(machine) == []
    assert machine.run("nft", "list", "tables").split() == ["table", "inet", "another"]
    assert (machine.root / "etc/firedamp/conf.d/site.yaml").exists()
    assert (machine.root / "var/lib/firedamp").is_dir()


def test_purged_it_leaves_nothing(machine):
    """
    Not a file, not a link, not a unit.
    """
    machine.run("apt-get", "purge", "-y", "firedamp")

    left = machine.run("find", "/", "-xdev", "-name", "*firedamp*", "-not", "-path", "/proc/*")
    assert left.splitlines() == []
    assert unit(machine, "LoadState") == "not-found"
