# SPDX-License-Identifier: Apache-2.0
import argparse
import importlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from firedamp import __version__
from firedamp.cli import VERBS

DAEMON = Path(__file__).parents[2] / "daemon"


def test_help_lists_every_verb(firedamp):
    """
    With what it is for, examples, and what the exit statuses mean.
    """
    ran = firedamp("--help")

    assert ran.status == 0
    assert all(f"{verb:<9} {text}" in ran.out for verb, text in VERBS.items())
    assert "examples:" in ran.out
    assert "exit status: 0 all is well" in ran.out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_with_examples(firedamp, verb):
    """
    `--help` is what one looks at first.
    """
    ran = firedamp(verb, "--help")

    assert ran.status == 0
    assert ran.out.startswith(f"usage: firedamp {verb}")
    assert f"  firedamp {verb}" in ran.out


@pytest.mark.parametrize("verb", VERBS)
def test_list_of_verbs_says_what_the_verb_says(verb):
    """
    The list is written by hand, so that it imports none of them.
    """
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers()
    importlib.import_module(f"firedamp.cli.{verb}").add_parser(subparsers)

    [action] = subparsers._choices_actions  # noqa: SLF001 - argparse shows it in no other way
    assert (action.dest, action.help) == (verb, VERBS[verb])


@pytest.mark.parametrize(
    "arguments", [(), ("dance",), ("status", "--dance"), ("alerts", "-n", "x")]
)
def test_wrong_use_is_told_from_a_problem(firedamp, arguments):
    """
    Status 2, and nothing on standard output.
    """
    ran = firedamp(*arguments)

    assert (ran.status, ran.out) == (2, "")
    assert "usage: firedamp" in ran.err


def test_version_is_the_package_s(firedamp):
    """
    For bug reports.
    """
    assert firedamp("--version").out == f"firedamp {__version__}\n"


def test_wrong_settings_are_a_problem_and_named(firedamp, etc):
    """
    Every verb that reads them says the same.
    """
    (etc / "firedamp.yaml").write_text("mode: [\n")

    ran = firedamp("status")

    assert ran.status == 1
    assert ran.err.startswith(f"firedamp: {etc}/firedamp.yaml:2: ")


def test_reader_that_leaves_early_is_no_error(tmp_path):
    """
    `firedamp alerts | head` ends quietly.
    """
    lines = tmp_path / "alerts.jsonl"
    lines.write_text('{"message":"x","firedamp":{"kind":"alert"}}\n' * 20_000)
    script = f"{sys.executable} -m firedamp alerts --file {lines} -n 20000 | head -n 1"

    ran = subprocess.run(
        ["/bin/bash", "-c", f"{script}; echo ${{PIPESTATUS[0]}}"],
        env={"PYTHONPATH": str(DAEMON), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert ran.stderr == ""
    assert ran.stdout.splitlines()[-1] == "0"


def test_choosing_a_verb_imports_no_other():
    """
    The daemon must not hold what other verbs need.
    """
    code = (
        "import sys; from firedamp.cli import _parser; _parser(['run', '--console']);"
        "print(*sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(DAEMON)},
        capture_output=True,
        text=True,
        check=True,
    )

    loaded = ran.stdout.split()
    assert "firedamp.cli.run" in loaded
    assert {"pydantic", "yaml", "sigma", "bcc", "asyncio", "systemd"}.isdisjoint(loaded)
    assert not [one for one in loaded if one.startswith("firedamp.cli.") and one[13:] in VERBS][1:]


def test_module_runs_as_the_command_does():
    """
    `python -m firedamp` is there where no script is installed.
    """
    ran = subprocess.run(
        [sys.executable, "-m", "firedamp", "--version"],
        env={"PYTHONPATH": str(DAEMON)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert ran.stdout == f"firedamp {__version__}\n"


def test_interrupt_ends_quietly(tmp_path):
    """
    Ctrl-C in `firedamp alerts --follow` is the way to end it.
    """
    lines = tmp_path / "alerts.jsonl"
    lines.write_text('{"message":"x","firedamp":{"kind":"alert"}}\n')
    with subprocess.Popen(
        [sys.executable, "-m", "firedamp", "alerts", "--file", str(lines), "--follow"],
        env={"PYTHONPATH": str(DAEMON)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout.readline()
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=10)

    assert (child.returncode, err) == (130, "")
