# SPDX-License-Identifier: Apache-2.0

import json
import os
import stat
import subprocess
import time
from pathlib import Path

import pytest

from firedamp.response.capture import Capture, mask
from firedamp.response.members import Members
from firedamp.response.system_host import SystemHost, parse_stat


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        (b"PASSWORD=hunter2", b"PASSWORD=***"),
        (b"AWS_SECRET_ACCESS_KEY=abc=def", b"AWS_SECRET_ACCESS_KEY=***"),
        (b"--api-key=abc", b"--api-key=***"),
        (b"github_token=x\ny", b"github_token=***"),
        (b"DATABASE_URL=postgres://u:p@h/d", b"DATABASE_URL=***"),
        (b"PATH=/usr/bin", b"PATH=/usr/bin"),
        (b"--user=4AbcWallet", b"--user=4AbcWallet"),
        (b"HOME=/root", b"HOME=/root"),
        (b"\xff\xfe", b"\xff\xfe"),
    ],
)
def test_values_that_look_secret_are_masked(word, shown):
    """
    By their names; what tells a miner, its wallet for one, stays.
    """
    assert mask(word) == shown


@pytest.fixture
def running(tmp_path):
    """A process from a file that is deleted while it runs, with a secret in its environment."""
    program = tmp_path / "deleted"
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    process = subprocess.Popen(
        [str(program), "60"], cwd=tmp_path, env={"API_TOKEN": "hunter2", "SEEN": "yes"}
    )
    # The arguments appear a little later than the image.
    while not Path(f"/proc/{process.pid}/cmdline").read_bytes().startswith(bytes(program)):
        time.sleep(0.001)
    while not Path(f"/proc/{process.pid}/environ").read_bytes():
        time.sleep(0.001)
    program.unlink()
    yield parse_stat(process.pid, Path(f"/proc/{process.pid}/stat").read_bytes()).key
    process.kill()
    process.wait()


def test_living_process_is_written_down(running, keeper, tmp_path, decision, intend):
    """
    With its executable, although that has no name any more; for root's eyes only.
    """
    host = SystemHost()
    members = Members(host, lambda _: None, keeper)
    members.admit(running)
    capture = Capture(host, str(tmp_path / "incidents"))

    [receipt] = capture.apply(decision(running, "capture", incident="../x/1"), members, intend)
    members.close(keep=False)

    directory = tmp_path / "incidents" / "_x_1" / f"{running.pid}-{running.started_ticks}"
    facts = json.loads((directory / "process.json").read_text())
    assert receipt.outcome == "done"
    assert facts["argv"] == [str(tmp_path / "deleted"), "60"]
    assert sorted(facts["environ"]) == ["API_TOKEN=***", "SEEN=yes"]
    assert facts["cwd"] == str(tmp_path)
    assert (directory / "exe").read_bytes() == Path("/bin/sleep").read_bytes()
    assert b"deleted" in (directory / "maps").read_bytes()
    assert stat.S_IMODE((directory / "exe").stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_process_that_is_gone_is_said(host, keeper, tmp_path, decision, intend):
    """
    Evidence of a process that happens to have its number now would be worse than none.
    """
    key = host.add(os.getpid())
    members = Members(host, lambda _: None, keeper)
    members.admit(key)
    host.processes.clear()
    capture = Capture(host, str(tmp_path / "incidents"))

    [receipt] = capture.apply(decision(key, "capture"), members, intend)

    assert receipt.outcome == "failed"
    assert not list((tmp_path / "incidents").rglob("process.json"))
