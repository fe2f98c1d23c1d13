# SPDX-License-Identifier: Apache-2.0
import json
import subprocess
import sys
from pathlib import Path

import pytest

from firedamp import compiled
from firedamp.errors import ConfigError

DAEMON = Path(__file__).parents[2] / "daemon"


def test_every_problem_is_listed(firedamp, monkeypatch):
    """
    One a line, then their number; status 1.
    """

    def refuse(_path):
        raise ConfigError("a.yaml:1: x: wrong\nb.yaml:2: y: wrong")

    monkeypatch.setattr(compiled, "load_in_child", refuse)

    ran = firedamp("check")
    as_json = json.loads(firedamp("check", "--json").out)

    assert (ran.status, ran.out) == (1, "a.yaml:1: x: wrong\nb.yaml:2: y: wrong\n2 problem(s)\n")
    assert as_json["ok"] is False
    assert as_json["problems"] == ["a.yaml:1: x: wrong", "b.yaml:2: y: wrong"]


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("mode: enforce\n", 0, "settings and 0 policies are sound; mode enforce"),
        ("mode: enforced\n", 1, "firedamp.yaml:1: mode: should be 'observe' or 'enforce'"),
    ],
)
def test_what_the_daemon_would_load_is_checked_in_earnest(tmp_path, text, status, said):
    """
    Settings and policies, in the process that would read them for the daemon.
    """
    config = tmp_path / "firedamp.yaml"
    (tmp_path / "policies").mkdir()
    config.write_text(f"{text}policies: {{directories: [{tmp_path}/policies]}}\n")

    ran = subprocess.run(
        [sys.executable, "-m", "firedamp", "check", "--config", str(config)],
        env={"PYTHONPATH": str(DAEMON), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == status, ran.stdout + ran.stderr
    assert said in ran.stdout
