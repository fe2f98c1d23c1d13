# SPDX-License-Identifier: Apache-2.0
"""What the daemon records on a real kernel, judged again, is judged the same."""

import gzip
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from firedamp.demo.network import POOL
from firedamp.demo.stage import Stage
from firedamp.demo.watcher import Watcher
from firedamp.paths import policies_dir

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("bpf_host"), pytest.mark.timeout(180)]

LOGIN = {
    "id": 1,
    "jsonrpc": "2.0",
    "method": "login",
    "params": {"login": "4" + "A" * 94, "pass": "x", "agent": "XMRig/6.21.0", "algo": ["rx/0"]},
}
MINER = f"""
import socket, sys, time
s = socket.create_connection((sys.argv[1], 3333))
s.sendall({json.dumps(LOGIN)!r}.encode() + b"\\n")
s.recv(4096)
time.sleep(0.5)
"""
NOBODY = 65534


@pytest.fixture
def stage(bpf_host: None) -> Iterable[Stage]:
    """A corner of this machine."""
    with Stage("firedamp-recording") as made:
        yield made


def facts(documents: Iterable[dict[str, Any]]) -> Counter[tuple[str, ...]]:
    """Of each alert, what must not differ."""
    return Counter(
        (
            one["rule"]["id"],
            str(one.get("process", {}).get("pid")),
            one["firedamp"]["actor"],
            one["firedamp"]["incident"],
            one["event"]["action"],
            json.dumps(one["firedamp"]["fields"].get("DestinationIp")),
            json.dumps([each["rule"]["id"] for each in one["firedamp"]["evidence"]]),
        )
        for one in documents
    )


def replayed(recording: Path, *more: str) -> list[dict[str, Any]]:
    """The alerts of a replay by an account without rights, which sees the file alone."""
    done = subprocess.run(
        [sys.executable, "-I", "-m", "firedamp", "replay", str(recording), "--json", *more],
        capture_output=True,
        text=True,
        check=False,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd="/",
    )
    print(done.stderr)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def play(stage: Stage, watcher: Watcher) -> int:
    """A disguised miner logs in to the pool; returns its PID once that has been told."""
    hidden = stage.directory / ".x"
    hidden.mkdir(exist_ok=True)
    (hidden / "job.py").write_text(MINER)
    miner = stage.spawn("/usr/bin/python3", "-S", hidden / "job.py", POOL)
    told = watcher.wait_for(
        lambda d: (
            d.get("rule", {}).get("name") == "Process logs in to a mining pool"
            and d.get("process", {}).get("pid") == miner.pid
        )
    )
    assert told is not None
    miner.wait(10)
    return miner.pid


def given_away(source: Path, to: Path) -> Path:
    """A copy for everybody: the recording itself is for root alone."""
    assert source.stat().st_mode & 0o777 == 0o600
    to.write_bytes(source.read_bytes())
    to.chmod(0o644)
    return to


def test_standing_recording_gives_the_same_alerts_again(stage, tmp_path):
    """
    From the first process that was found at the start to the last one: same policies, same
    processes, same incidents, without root.
    """
    directory = stage.directory / "recording"
    watcher = stage.watcher(record={"directory": str(directory)})
    watcher.start()
    miner = play(stage, watcher)
    subprocess.run(["/bin/true", "--password=hunter2"], check=True)
    time.sleep(1.5)
    assert watcher.stop() == 0

    file = given_away(*directory.iterdir(), stage.directory / "copy.jsonl.gz")
    stage.directory.chmod(0o755)
    again = replayed(file, "--policies", str(policies_dir()))

    assert facts(again) == facts(watcher.alerts())
    assert any(one.get("process", {}).get("pid") == miner for one in again)
    text = gzip.decompress(file.read_bytes()).decode()
    assert "--password=***" in text
    assert "hunter2" not in text


def test_recording_that_was_asked_for_knows_what_was_before(stage):
    """
    A process that started before the recording is judged by its start all the same.
    """
    watcher = stage.watcher()
    watcher.start()
    script = stage.directory / "early.py"
    script.write_text(f"import time; time.sleep(4)\n{MINER}")
    early = stage.spawn("/usr/bin/python3", "-S", script, POOL)
    time.sleep(0.5)
    file = stage.directory / "asked.jsonl.gz"
    began = len(watcher.documents())

    asked = watcher.command("record", str(file), "--seconds", "6", "--json")

    state = json.loads(asked.stdout)
    assert (asked.returncode, state["ended"]) == (0, "time is up"), asked.stderr
    assert early.wait(10) == 0
    stage.directory.chmod(0o755)
    copy = given_away(file, stage.directory / "copy.jsonl.gz")
    again = replayed(copy, "--policies", str(policies_dir()))
    live = [one for one in watcher.documents()[began:] if one["firedamp"]["kind"] == "alert"]
    mine = [one for one in again if one.get("process", {}).get("pid") == early.pid]
    assert "Process logs in to a mining pool" in {one["rule"]["name"] for one in mine}
    assert facts(mine) <= facts(live)
    assert mine[0]["firedamp"]["fields"]["ScriptPath"] == str(script)


def test_file_that_is_there_already_is_not_overwritten(stage):
    """
    Root writes where it is told to: never over something.
    """
    watcher = stage.watcher()
    watcher.start()
    file = stage.directory / "precious"
    file.write_text("mine")
    link = stage.directory / "link"
    os.symlink(stage.directory / "elsewhere", link)

    for target in (file, link):
        done = watcher.command("record", str(target), "--seconds", "1")
        assert done.returncode == 1
        assert "File exists" in done.stderr

    assert file.read_text() == "mine"
    assert not (stage.directory / "elsewhere").exists()
