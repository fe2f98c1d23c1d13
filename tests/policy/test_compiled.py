# SPDX-License-Identifier: Apache-2.0
"""The child that parses, and what the daemon's process is spared."""

import json
import subprocess
import sys

import pytest

from firedamp import compiled
from firedamp.compiled import load_in_child
from firedamp.errors import ConfigError, PolicyError
from firedamp.policy.engine import Engine
from firedamp.policy.view import FieldView

RULE = """
title: one
id: 00000000-0000-4000-8000-000000000001
status: stable
logsource: {category: file_event}
detection: {one: {Place: cron}, condition: one}
firedamp:
  blind_spots: x
  tests:
    - name: a crontab changes
      events: [{category: file_event, Place: cron}]
      expect: {alert: EXPECTED}
"""


@pytest.fixture
def config(tmp_path, write):
    """Write settings that name the test's own policies; give back their path."""
    write(RULE.replace("EXPECTED", "true"))

    def config(text=""):
        filters = tmp_path / "filters"
        filters.mkdir(exist_ok=True)
        return write(
            f"policies: {{directories: [{tmp_path / 'policies'}], filters: [{filters}]}}\n{text}",
            name="firedamp.yaml",
            directory="etc",
        )

    return config


def test_child_hands_over_what_the_engine_runs(config):
    """
    Settings and policies, ready to be asked.
    """
    loaded = load_in_child(config("mode: enforce\n"))

    view = FieldView.from_mapping("file_event", {"Place": "cron"})
    [alert] = Engine(loaded.policies, boot_id="").feed(view)
    assert alert.policy.title == "one"
    assert loaded.settings.mode == "enforce"
    assert len(loaded.policies) == 1
    assert loaded.warnings == ()


def test_tests_are_left_behind(config):
    """
    They have been run, and would only take memory.
    """
    loaded = load_in_child(config())

    [one] = loaded.policies.by_category["file_event"]
    assert one.rule.cases == ()


def test_settings_that_are_not_sound_are_refused(config):
    """
    As a ConfigError, with the place.
    """
    with pytest.raises(ConfigError, match=r"firedamp\.yaml:2: mode"):
        load_in_child(config("mode: perhaps\n"))


def test_policies_that_are_not_sound_are_refused(config, write):
    """
    As a PolicyError, with the place.
    """
    path = config()
    write("title: two\n", name="two.yml")

    with pytest.raises(PolicyError, match=r"two\.yml:1: logsource"):
        load_in_child(path)


def test_policies_that_fail_their_tests_are_refused(config, write):
    """
    A reload is validated first, tests included.
    """
    path = config()
    write(RULE.replace("EXPECTED", "false"))

    with pytest.raises(PolicyError, match="a crontab changes: expected silence, got an alert"):
        load_in_child(path)


def test_loading_that_takes_too_long_is_refused(config):
    """
    The old policies stay in force meanwhile.
    """
    with pytest.raises(PolicyError, match=r"took more than 0\.01 s"):
        load_in_child(config(), timeout_s=0.01)


def test_child_that_dies_is_a_refusal_with_its_last_words(config, monkeypatch, tmp_path):
    """
    Whatever kills it, the daemon goes on with what it has.
    """
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho out of memory >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))

    with pytest.raises(PolicyError, match="status 3: out of memory"):
        load_in_child(config())


def test_child_that_needs_too_much_memory_is_stopped(config):
    """
    The bound is set before the first file is read.
    """
    code = "from firedamp import compile_child as c; c.MAX_MEMORY = 1 << 20; c.main()"
    request = json.dumps({"config": str(config())})

    child = subprocess.run(
        [sys.executable, "-I", "-c", code],
        input=request.encode(),
        capture_output=True,
        check=False,
    )

    assert child.returncode != 0
    assert b"MemoryError" in child.stderr


def test_ids_in_the_settings_that_no_policy_has_are_warned_of(config):
    """
    A mistyped id would enforce nothing.
    """
    path = config()
    text = path.read_text().replace(
        "policies: {", "policies: {enforce: [00000000-0000-4000-8000-0000000000ff], "
    )
    path.write_text(text)

    [warning] = load_in_child(path).warnings

    assert "policies.enforce: there is no policy 00000000-0000-4000-8000-0000000000ff" in warning


def test_indicators_beside_the_policies_are_read(config, write):
    """
    One list a kind; what is wrong is a warning.
    """
    write(
        "pool.example  # seen once\nnot a name\n",
        name="pool_domains.txt",
        directory="policies/indicators",
    )

    loaded = load_in_child(config())

    assert "pool.example" in loaded.indicators.domains
    assert any("not a name" in one for one in loaded.warnings)


def test_process_that_runs_policies_holds_no_parser():
    """
    Pydantic and pySigma cost more memory than all the rest.
    """
    code = (
        "import sys, firedamp.compiled, firedamp.policy.engine, firedamp.policy.decide;"
        "print([m for m in ('pydantic', 'sigma', 'yaml', 'asyncio') if m in sys.modules])"
    )

    shown = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, check=True)

    assert shown.stdout.strip() == b"[]"


def test_default_timeout_is_stated():
    """
    Long enough for thousands of rules, short enough for a reload.
    """
    assert 10 <= compiled.TIMEOUT_S <= 120
