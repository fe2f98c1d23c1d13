# SPDX-License-Identifier: Apache-2.0

import os
import shutil

import pytest

from firedamp.response.packages import Packages, aliases


@pytest.fixture
def root(tmp_path):
    """A root directory with a package database."""
    info = tmp_path / "var/lib/dpkg/info"
    info.mkdir(parents=True)
    (info / "coreutils.list").write_text("/.\n/bin\n/bin/true\n/usr/bin/env\n")
    (info / "libc6:amd64.list").write_text("/usr/lib/libc.so.6\n")
    return tmp_path


@pytest.mark.parametrize(
    ("path", "package"),
    [
        ("/bin/true", "coreutils"),
        ("/usr/bin/true", "coreutils"),
        ("/usr/bin/env", "coreutils"),
        ("/bin/env", "coreutils"),
        ("/usr/lib/libc.so.6", "libc6"),
        ("/lib/libc.so.6", "libc6"),
        ("/usr/bin/tr", ""),
        ("/usr/bin/true2", ""),
        ("/opt/bin/true", ""),
        ("/tmp/bin/true", ""),
    ],
)
def test_owner_is_found_under_either_name(root, path, package):
    """
    /bin is a link to /usr/bin, and packages use either; a part of a path is nobody's.
    """
    assert Packages(str(root)).owner(path) == package


def test_answer_is_forgotten_when_the_database_changes(root):
    """
    A package that was just installed owns its files at once.
    """
    packages = Packages(str(root))
    assert packages.owner("/usr/bin/new") == ""

    info = root / "var/lib/dpkg/info"
    (info / "new.list").write_text("/usr/bin/new\n")
    os.utime(info, ns=(1, 1))

    assert packages.owner("/usr/bin/new") == "new"


def test_unreadable_database_owns_everything(root):
    """
    Rather leave a trojan's file than move a package's.
    """
    shutil.rmtree(root / "var/lib/dpkg/info")
    (root / "var/lib/dpkg/info").write_text("not a directory")

    assert "cannot be read" in Packages(str(root)).owner("/tmp/x")


def test_host_without_a_database_owns_nothing(tmp_path):
    """
    Where no package manager is, no file is a package's.
    """
    assert Packages(str(tmp_path)).owner("/usr/bin/true") == ""


@pytest.mark.skipif(not os.path.exists("/var/lib/dpkg/info"), reason="needs dpkg")
def test_this_hosts_own_interpreter_is_packaged():
    """
    The real database is searched, and the real path is found in it.
    """
    assert Packages().owner(os.path.realpath("/usr/bin/python3")).startswith("python3")


def test_aliases_begin_with_the_path_itself():
    """
    And nothing outside the merged directories has a second name.
    """
    assert aliases("/usr/sbin/x") == ("/usr/sbin/x", "/sbin/x")
    assert aliases("/lib64/x") == ("/lib64/x", "/usr/lib64/x")
    assert aliases("/usr/share/x") == ("/usr/share/x",)
