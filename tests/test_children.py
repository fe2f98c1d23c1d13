# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys

import pytest

from firedamp import children


@pytest.fixture
def private(tmp_path, monkeypatch):
    """A private directory, as a package of a distribution has one, that is on nobody's path."""
    place = tmp_path / "private's place"
    place.mkdir()
    monkeypatch.setattr(children, "_ROOT", str(place))
    return place


def run(module, *arguments, cwd=None):
    """What a child says."""
    command = children.command(module, *arguments)
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_child_is_found_where_its_parent_lies(private):
    """
    Isolation must not cost the directory that the code was started from.
    """
    (private / "told.py").write_text("import sys; print(__name__, sys.argv[1:])")

    assert run("told", "a b", "-c").stdout == "__main__ ['a b', '-c']\n"


def test_child_finds_nothing_in_the_directory_it_is_started_in(tmp_path, private):
    """
    A stranger's `json.py` in the working directory of root is not run.
    """
    (tmp_path / "stranger.py").write_text("print('mine')")

    refused = run("stranger", cwd=tmp_path)

    assert refused.returncode != 0
    assert "No module named stranger" in refused.stderr


def test_order_of_the_path_stays_where_the_directory_is_on_it_anyway(private):
    """
    What lies there must not come before the standard library.
    """
    (private / "told.py").write_text("import sys; print(sys.path.index(sys.argv[1]) > 0)")
    code = children.command("told")[3]
    already = f"import sys; sys.path.append({str(private)!r})\n{code}"
    command = [sys.executable, "-I", "-c", already, str(private)]

    assert subprocess.run(command, capture_output=True, check=False).stdout == b"True\n"
