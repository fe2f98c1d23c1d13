# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import firedamp

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> list[str]:
    """The names in a wheel that was built from this tree."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-Im", "hatchling", "build", "--target", "wheel"]
    subprocess.run([*command, "--directory", str(out)], cwd=ROOT, check=True, capture_output=True)
    [built] = out.glob("*.whl")
    return zipfile.ZipFile(built).namelist()


def shipped(directory: str, pattern: str) -> set[str]:
    """The files of one source directory, as paths below it."""
    root = ROOT / directory
    return {str(path.relative_to(root)) for path in root.rglob(pattern) if path.is_file()}


def test_wheel_holds_the_package_and_its_metadata_alone(wheel):
    """
    The source root `daemon` and the tests stay out: the bare name belongs to another project.
    """
    tops = {name.split("/")[0] for name in wheel}

    assert tops == {"firedamp", f"firedamp-{firedamp.__version__}.dist-info"}


def test_wheel_holds_every_module(wheel):
    """
    A module that works in a checkout is there once installed.
    """
    assert {f"firedamp/{name}" for name in shipped("daemon/firedamp", "*.py")} <= set(wheel)
    assert "firedamp/py.typed" in wheel


@pytest.mark.parametrize("directory", ["probes", "policies"])
def test_wheel_carries_what_is_read_at_run_time(wheel, directory):
    """
    Probes are compiled and policies are loaded on the host where the daemon runs.
    """
    prefix = f"firedamp/_data/{directory}/"
    carried = {name.removeprefix(prefix) for name in wheel if name.startswith(prefix)}

    assert carried == shipped(directory, "*") != set()


@pytest.mark.parametrize("name", ["Apache-2.0", "GPL-2.0-only", "BSD-2-Clause"])
def test_wheel_carries_the_licences(wheel, name):
    """
    The probes are under other terms than the rest, and all of them travel along.
    """
    assert any(entry.endswith(f".dist-info/licenses/LICENSES/{name}.txt") for entry in wheel)
