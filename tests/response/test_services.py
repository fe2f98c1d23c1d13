# SPDX-License-Identifier: Apache-2.0

import os

import pytest

from firedamp.errors import Refused
from firedamp.response.guard import ProcessGuard
from firedamp.response.host import Image
from firedamp.settings import Settings

SQUID = ("/system.slice/squid.service",)


class Owned:
    """A package database in which these files are."""

    def __init__(self, *paths):
        self._paths = paths

    def owner(self, path):
        """The package of a file."""
        return "a-package" if path in self._paths else ""


def file(path):
    """The image of a process that runs the file at this path."""
    status = os.stat(path)
    return Image(path=path, device=status.st_dev, inode=status.st_ino, link_count=1, is_named=True)


@pytest.fixture
def guard(host):
    """Guards for which /bin/cat and /bin/sh come from packages."""
    return ProcessGuard(Settings(), host, packages=Owned("/bin/cat", "/bin/dash", "/bin/true"))


def test_packaged_program_of_a_service_is_refused(host, guard):
    """
    The proxy's worker, which says to a pool what a client told it to, stays.
    """
    host.add(100, image=file("/bin/cat"), cgroups=SQUID)
    worker = host.add(101, parent=100, image=file("/bin/cat"), cgroups=SQUID)

    with pytest.raises(Refused, match=r"packaged program of squid\.service"):
        guard(worker)


def test_what_the_service_was_made_to_start_passes(host, guard):
    """
    A packaged tool that an intruder starts from inside a service is not its program.
    """
    host.add(100, image=file("/bin/cat"), cgroups=SQUID)

    guard(host.add(101, parent=1, image=file("/bin/true"), cgroups=SQUID))


def test_service_of_a_program_that_no_package_owns_passes(host, guard):
    """
    A unit that a trojan installed runs the trojan.
    """
    guard(host.add(100, image=file("/bin/ls"), cgroups=SQUID))


def test_script_of_a_service_passes(host, guard):
    """
    An interpreter is a package's; what it runs need not be.
    """
    guard(host.add(100, image=file("/bin/dash"), cgroups=SQUID))


def test_packaged_program_outside_a_service_passes(host, guard):
    """
    In a session, a packaged relay is somebody's tool.
    """
    session = ("/user.slice/user-1000.slice/session-3.scope",)

    guard(host.add(100, image=file("/bin/cat"), cgroups=session))
