# SPDX-License-Identifier: Apache-2.0
"""`firedamp policy`, as somebody who writes policies uses it."""

import argparse
import json

import pytest

from firedamp.cli import policy
from firedamp.paths import policies_dir

GOOD = """
title: mine
id: 00000000-0000-4000-8000-000000000001
status: stable
logsource: {category: file_event}
detection: {one: {Place: cron}, condition: one}
firedamp:
  blind_spots: x
  tests:
    - name: a crontab changes
      events: [{category: file_event, Place: cron}]
      expect: {alert: true}
"""


@pytest.fixture
def firedamp(capsys, tmp_path, write):
    """Run the verb with settings of the test's own; give back status and output."""
    settings = write("mode: observe\n", name="firedamp.yaml", directory="etc")

    def firedamp(*arguments):
        parser = argparse.ArgumentParser(prog="firedamp")
        policy.add_parser(parser.add_subparsers())
        verb, *rest = map(str, arguments)
        args = parser.parse_args(["policy", verb, "--config", str(settings), *rest])
        status = args.run(args)
        return status, capsys.readouterr().out

    return firedamp


def test_own_file_is_tested_beside_the_shipped_policies(firedamp, write):
    """
    Correlations need the others; only the named file's tests are counted.
    """
    path = write(GOOD)

    assert firedamp("test", path) == (0, "1 policies, 1 tests: all pass\n")


def test_failing_test_is_shown_and_ends_with_status_1(firedamp, write):
    """
    For a person and for a build.
    """
    path = write(GOOD.replace("alert: true", "alert: false"))

    status, output = firedamp("test", path)

    assert status == 1
    assert f"{path}:10: mine: a crontab changes: expected silence, got an alert" in output
    assert "1 failed" in output


def test_shipped_directory_can_be_named(firedamp):
    """
    `firedamp policy test policies`, from a checkout.
    """
    status, output = firedamp("test", policies_dir())

    assert status == 0, output
    assert "all pass" in output


def test_check_tells_what_cannot_apply(firedamp, write):
    """
    Sound, but nothing here to match.
    """
    path = write(
        GOOD.split("firedamp:", maxsplit=1)[0].replace("category: file_event", "service: sshd")
    )

    status, output = firedamp("check", path)

    assert status == 0
    assert "reads what the service sshd logs" in output
    assert "0 policies are sound, 1 more cannot apply here" in output


def test_unsound_policy_is_refused_with_its_place(firedamp, write):
    """
    Every problem, one a line.
    """
    path = write(GOOD.replace("condition: one", "condition: two"))

    status, output = firedamp("check", path)

    assert status == 1
    assert f"{path}:6: detection.condition: there is no detection called two" in output
    assert firedamp("check", "--json", path)[0] == 1


def test_list_shows_what_each_policy_does(firedamp, write):
    """
    For programs, the same as JSON.
    """
    path = write(GOOD)

    _, text = firedamp("list", path)
    _, document = firedamp("list", "--json", path)

    assert text.startswith("00000000-0000-4000-8000-000000000001  medium")
    [row] = json.loads(document)["policies"]
    assert (row["category"], row["response"], row["alerts"]) == ("file_event", [], True)


def test_path_that_is_not_there_is_wrong_use(firedamp, tmp_path):
    """
    Status 2, as for any wrong argument.
    """
    assert firedamp("check", tmp_path / "nowhere")[0] == 2
