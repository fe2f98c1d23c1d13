# SPDX-License-Identifier: Apache-2.0
"""What is installed beside the program says the same as the program."""

import dataclasses
import re
import shutil
import subprocess
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

from firedamp.alerts.entries import MESSAGE_IDS
from firedamp.cli import VERBS
from firedamp.config import load_settings
from firedamp.policy.fields import CATEGORIES
from firedamp.policy.model import Extension, FilterExtension
from firedamp.settings import Settings

PACKAGING = Path(__file__).parents[2] / "packaging"
EXAMPLE = PACKAGING / "firedamp.yaml"
MAN = PACKAGING / "man"
UNIT = PACKAGING / "systemd" / "firedamp.service"


def keys(kind: object = Settings, prefix: str = "") -> Iterator[str]:
    """Every setting that is not a group of others, as `group.name`."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        inner = hints[field.name]
        if typing.get_origin(inner) is tuple:
            inner = typing.get_args(inner)[0]
        if dataclasses.is_dataclass(inner):
            yield from keys(inner, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}"


def uncommented(text: str) -> str:
    """The example with every setting set: a # right before a word is taken away."""
    return re.sub(r"^( *)#(?=[a-z-])", r"\1", text, flags=re.MULTILINE)


def test_example_as_it_is_shipped_changes_nothing(tmp_path):
    """
    Installing it leaves the defaults.
    """
    assert load_settings(EXAMPLE) == Settings()


def test_example_names_every_setting_with_its_default(tmp_path):
    """
    What has no default of any use has an example, and each is accepted.
    """
    path = tmp_path / "firedamp.yaml"
    path.write_text(uncommented(EXAMPLE.read_text()))

    settings = load_settings(path)

    for key in keys():
        assert re.search(rf"^ *(- )?{key.rpartition('.')[2]}:", path.read_text(), re.MULTILINE), key
    for group, default in dataclasses.asdict(Settings()).items():
        found = dataclasses.asdict(settings)[group]
        values = default.items() if isinstance(default, dict) else [(group, default)]
        for name, value in values:
            if value != ():
                assert (found[name] if isinstance(default, dict) else found) == value, name


@pytest.mark.parametrize("key", [*keys()])
def test_manual_explains_every_setting(key):
    """
    By its name, under the heading of its group.
    """
    group, _, name = key.rpartition(".")
    text = (MAN / "firedamp.yaml.5").read_text()
    if group:
        heading = f".Ss {group.split('.')[0]}\n"
        assert heading in text
        text = text.partition(heading)[2].partition("\n.Ss ")[0]

    assert re.search(rf"^\.(It )?Cm {name}\b", text, re.MULTILINE)


def test_manual_names_every_verb_and_message_id():
    """
    Scripts are written from it.
    """
    text = (MAN / "firedamp.8").read_text()

    for verb in VERBS:
        assert f".It Cm {verb}\n" in text
    for kind, number in MESSAGE_IDS.items():
        assert f".It {kind} Ta {number}\n" in text


def test_manual_names_every_category_and_key_of_a_policy():
    """
    Of filters, too.
    """
    text = (MAN / "firedamp-policy.5").read_text()

    for category in CATEGORIES:
        assert f"Li {category}" in text
    for model in (Extension, FilterExtension):
        for name in model.model_fields:
            assert f"Cm {name}" in text


def test_policy_in_the_manual_is_sound_and_passes_its_tests(tmp_path, capsys):
    """
    Examples are copied.
    """
    from firedamp.cli import main

    text = (MAN / "firedamp-policy.5").read_text()
    policy = text.partition(".Bd -literal -offset indent\n")[2].partition(".Ed\n")[0]
    (tmp_path / "uploads.yml").write_text(policy)

    status = main(["policy", "test", str(tmp_path / "uploads.yml")])

    assert status == 0, capsys.readouterr().out


@pytest.mark.parametrize("page", sorted(MAN.iterdir()), ids=lambda page: page.name)
@pytest.mark.parametrize(
    "command",
    [("mandoc", "-T", "lint", "-W", "warning"), ("groff", "-mandoc", "-Tutf8", "-ww", "-z")],
    ids=lambda command: command[0],
)
def test_manual_is_clean(page, command):
    """
    No formatter has anything to complain of.
    """
    if not shutil.which(command[0]):
        pytest.skip(f"needs {command[0]}")

    ran = subprocess.run([*command, str(page)], capture_output=True, text=True, check=False)

    assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")


def test_unit_is_sound(tmp_path):
    """
    Systemd understands every line of it.
    """
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze")
    unit = tmp_path / UNIT.name
    text = UNIT.read_text().replace("/usr/bin/firedamp", "/usr/bin/true")
    unit.write_text(re.sub(r"^Documentation=.*\n", "", text, flags=re.MULTILINE))

    ran = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert [line for line in ran.stderr.splitlines() if "firedamp" in line] == []
