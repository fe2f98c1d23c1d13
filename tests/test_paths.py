# SPDX-License-Identifier: Apache-2.0
import pytest

from firedamp import paths
from firedamp.errors import ConfigError


@pytest.fixture
def installed_at(tmp_path, monkeypatch):
    """Pretend that the package lies at a place of its own, and /usr/share/firedamp beside it."""

    def install(*parts: str) -> None:
        package = tmp_path.joinpath(*parts)
        package.mkdir(parents=True)
        monkeypatch.setattr(paths, "_PACKAGE", package)
        monkeypatch.setattr(paths, "_SHARE", tmp_path / "share")

    return install


def test_checkout_uses_its_own_sources(tmp_path, installed_at):
    """
    What is edited is what runs, even where another version is installed.
    """
    installed_at("repository", "daemon", "firedamp")
    (tmp_path / "repository" / "pyproject.toml").touch()
    (tmp_path / "repository" / "probes").mkdir()
    (tmp_path / "share" / "probes").mkdir(parents=True)

    assert paths.probes_dir() == tmp_path / "repository" / "probes"


def test_wheel_uses_the_data_it_carries(tmp_path, installed_at):
    """
    A virtual environment is complete in itself.
    """
    installed_at("site-packages", "firedamp")
    (tmp_path / "site-packages" / "firedamp" / "_data" / "policies").mkdir(parents=True)
    (tmp_path / "share" / "policies").mkdir(parents=True)

    assert paths.policies_dir() == tmp_path / "site-packages" / "firedamp" / "_data" / "policies"


def test_distribution_package_uses_the_shared_data(tmp_path, installed_at):
    """
    The Debian package keeps data where data belongs.
    """
    installed_at("dist-packages", "firedamp")
    (tmp_path / "share" / "policies").mkdir(parents=True)

    assert paths.policies_dir() == tmp_path / "share" / "policies"


def test_directory_beside_an_installed_package_is_not_taken_for_a_checkout(tmp_path, installed_at):
    """
    The daemon compiles probes as root: it must not pick up a directory that happens to match.
    """
    installed_at("lib", "dist-packages", "firedamp")
    (tmp_path / "lib" / "probes").mkdir()
    (tmp_path / "lib" / "pyproject.toml").touch()
    (tmp_path / "share" / "probes").mkdir(parents=True)

    assert paths.probes_dir() == tmp_path / "share" / "probes"


def test_incomplete_installation_says_where_it_looked(tmp_path, installed_at):
    """
    The operator learns which directory is missing.
    """
    installed_at("dist-packages", "firedamp")

    with pytest.raises(ConfigError, match=r"no probes .*share/probes"):
        paths.probes_dir()
