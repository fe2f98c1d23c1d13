# SPDX-License-Identifier: Apache-2.0
"""What the Debian package says of itself and holds, without installing it."""

import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import firedamp

ROOT = Path(__file__).parents[1]
DEBIAN = ROOT / "packaging" / "debian"
PRIVATE = "usr/lib/firedamp"
OF_THE_DISTRIBUTION = {"pyyaml": "python3-yaml", "systemd-python": "python3-systemd"}
NEVER_IMPORTED = {"diskcache", "diskcache-stubs", "jinja2", "jq", "packaging", "requests"}
"""What pySigma names for parts that we do not use; its stubs for type checkers as well."""

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")


def bundled() -> dict[str, str]:
    """Versions by name."""
    lines = (DEBIAN / "bundled.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


def wanted() -> list[Requirement]:
    """What we need, and what that needs in turn."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [Requirement(one) for one in project["dependencies"]]
    for name in bundled():
        asked += map(Requirement, importlib.metadata.requires(name) or [])
    return [one for one in asked if one.marker is None or one.marker.evaluate({"extra": ""})]


@pytest.mark.parametrize("requirement", wanted(), ids=str)
def test_every_requirement_is_in_the_package_or_in_the_archive(requirement):
    """
    Installation fetches nothing but packages of the distribution.
    """
    name = canonicalize_name(requirement.name)
    depends = (DEBIAN / "control.in").read_text()

    if name in OF_THE_DISTRIBUTION:
        assert f"{OF_THE_DISTRIBUTION[name]} (" in depends
    elif not name.startswith("types-") and name not in NEVER_IMPORTED:
        assert requirement.specifier.contains(bundled()[name])


@pytest.mark.parametrize("name", sorted(bundled()))
def test_what_is_in_the_package_is_what_the_tests_run_with(name):
    """
    A library that nobody has tried is not shipped.
    """
    assert importlib.metadata.version(name) == bundled()[name]


def test_changelog_of_the_package_ends_with_this_version():
    """
    To dpkg and to its users it is the same version.
    """
    first = (DEBIAN / "changelog").read_text().splitlines()[0]

    assert first.startswith(f"firedamp ({firedamp.__version__}) ")


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """Built from this tree."""
    out = tmp_path_factory.mktemp("package")
    subprocess.run([ROOT / "packaging" / "deb.sh", out], check=True, capture_output=True)
    [built] = out.glob("*.deb")
    return built


@pytest.fixture(scope="module")
def tree(package, tmp_path_factory) -> Path:
    """What it would put below /, with the control files in DEBIAN."""
    place = tmp_path_factory.mktemp("tree") / "root"
    subprocess.run(["dpkg-deb", "--raw-extract", package, place], check=True)
    return place


def files(tree, below="") -> set[str]:
    """Files by their path."""
    start = tree / below
    return {str(one.relative_to(start)) for one in start.rglob("*") if one.is_file()}


@needs_dpkg
def test_package_holds_every_module_probe_and_policy(tree):
    """
    Nothing that works in a checkout is missing, and no cache of a builder comes along.
    """
    for source, place in (
        ("daemon/firedamp", f"{PRIVATE}/firedamp"),
        ("probes", "usr/share/firedamp/probes"),
        ("policies", "usr/share/firedamp/policies"),
    ):
        ours = {one for one in files(ROOT, source) if "__pycache__" not in one}
        assert files(tree, place) == ours != set()


@needs_dpkg
def test_package_knows_nothing_of_where_it_was_built(tree):
    """
    Paths of the builder would be wrong on every other machine, and are nobody's business.
    """
    telling = [
        name
        for name in files(tree)
        if str(ROOT).encode() in (tree / name).read_bytes() or name.endswith((".pyc", ".pth"))
    ]

    assert telling == []


@needs_dpkg
def test_settings_are_left_to_the_administrator(tree):
    """
    Its owner is asked before dpkg replaces a file below /etc.
    """
    conffiles = (tree / "DEBIAN" / "conffiles").read_text().splitlines()

    assert {f"/etc/{name}" for name in files(tree, "etc")} == set(conffiles)
    assert conffiles == ["/etc/firedamp/firedamp.yaml"]


@needs_dpkg
def test_command_runs_the_modules_of_the_package_alone(tree, tmp_path):
    """
    With the distribution's Python, in isolation, and with what lies in the private directory.
    """
    if Path("/usr/bin/python3").resolve() != Path(sys.executable).resolve():
        pytest.skip("needs the tests to run with the distribution's Python")
    moved = (tree / "usr/bin/firedamp").read_text()
    assert moved.startswith("#!/usr/bin/python3 -I\n")
    command = tmp_path / "firedamp"
    command.write_text(moved.replace(f'"/{PRIVATE}"', repr(str(tree / PRIVATE))))

    said = subprocess.run(
        ["/usr/bin/python3", "-I", command, "--version"], capture_output=True, text=True, check=True
    )

    assert said.stdout == f"firedamp {firedamp.__version__}\n"


@needs_dpkg
def test_compiled_parts_are_held_to_the_python_they_are_for(tree):
    """
    Rather apt refuses the next version of Python than the daemon, at its start.
    """
    control = (tree / "DEBIAN" / "control").read_text()
    minor = sys.version_info[1]

    assert f"python3 (>= 3.{minor}), python3 (<< 3.{minor + 1})" in control
    compiled = [one for one in files(tree, PRIVATE) if one.endswith(".so")]
    assert compiled
    assert all(re.search(rf"\.cpython-3{minor}-", one) for one in compiled)


@needs_dpkg
@pytest.mark.skipif(shutil.which("lintian") is None, reason="needs lintian")
def test_lintian_is_quiet(package):
    """
    Debian's own judge finds no fault, and nothing is overridden.
    """
    command = ["lintian", "--allow-root", "--fail-on", "error,warning", package]
    judged = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (judged.returncode, judged.stdout) == (0, "")


@needs_dpkg
@pytest.mark.parametrize("script", ["postinst", "prerm", "postrm"])
def test_maintainer_scripts_are_plain_shell(script):
    """
    They run where nothing but dash may be there.
    """
    subprocess.run(["sh", "-n", DEBIAN / script], check=True)
