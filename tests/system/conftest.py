# SPDX-License-Identifier: Apache-2.0
"""The package, built from this tree, and machines that have never seen it."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .machine import Machine, image, missing

ROOT = Path(__file__).parents[2]
BARE = ("systemd-sysv", "iproute2")
"""What a machine of the tests needs besides what the package depends on."""


@pytest.fixture(scope="session")
def package(tmp_path_factory) -> Path:
    """Built anew, by the script that `make deb` runs."""
    lacking = missing()
    if lacking:
        pytest.skip(lacking)
    out = tmp_path_factory.mktemp("package")
    subprocess.run([ROOT / "packaging" / "deb.sh", out], check=True, stdout=subprocess.DEVNULL)
    [built] = out.glob("*.deb")
    return built


@pytest.fixture(scope="session")
def archive(package) -> Path:
    """A bare Debian, with what the package depends on, so that installing it needs no network."""
    asked = subprocess.run(
        ["dpkg-deb", "--field", package, "Depends"], check=True, capture_output=True, text=True
    )
    needed = {re.split(r"[ (|]", one.strip(), maxsplit=1)[0] for one in asked.stdout.split(",")}
    return image([*BARE, *sorted(needed)])


@pytest.fixture(scope="module")
def boot(archive) -> Iterator[Callable[[], Machine]]:
    """Boots one, and switches it off at the end."""
    running: list[Machine] = []

    def start() -> Machine:
        running.append(Machine(archive))
        return running[-1]

    yield start
    for one in running:
        one.close()


@pytest.fixture(scope="module")
def machine(boot, package) -> Machine:
    """Where an administrator has installed the package a moment ago."""
    booted = boot()
    install(booted, package)
    return booted


def install(machine: Machine, package: Path) -> None:
    """As a newcomer does."""
    shutil.copy(package, machine.root / "root")
    machine.run("apt-get", "install", "-y", f"/root/{package.name}")
    (machine.root / "root" / package.name).unlink()
