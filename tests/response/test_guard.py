# SPDX-License-Identifier: Apache-2.0

import os

import pytest

from firedamp.errors import ConfigError, Refused
from firedamp.events.model import UNKNOWN_PROCESS
from firedamp.response.guard import ProcessGuard
from firedamp.response.host import PF_KTHREAD, Image
from firedamp.settings import Allow, Scope, Settings


def real(path):
    """The image of a process that really runs the file at this path."""
    status = os.stat(path)
    return Image(path=path, device=status.st_dev, inode=status.st_ino, link_count=1, is_named=True)


def look_alike(path):
    """Another file under the same path, as a container or a private mount shows it."""
    return Image(path=path, device=999, inode=999, link_count=1, is_named=True)


@pytest.fixture
def guard(host):
    """The guards of a daemon with these settings."""

    def make(settings=None, ours=()):
        return ProcessGuard(settings or Settings(), host, ours=lambda: ours)

    return make


def test_ordinary_process_passes(host, guard):
    """
    Guards are not in the way of what they do not protect.
    """
    guard()(host.add(4711))


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"pid": 1}, "PID 1"),
        ({"pid": 50, "flags": PF_KTHREAD}, "kernel threads"),
        ({"pid": 60, "image": "/usr/lib/systemd/systemd-journald"}, "systemd-journald"),
        ({"pid": 61, "image": "/lib/systemd/systemd-logind"}, "systemd-logind"),
        ({"pid": 62, "image": "/usr/bin/dbus-daemon"}, "dbus-daemon"),
        ({"pid": 63, "image": "/usr/sbin/sshd"}, "sshd"),
        ({"pid": 64, "image": "/usr/lib/openssh/sshd-session"}, "sshd-session"),
    ],
)
def test_system_process_is_refused(host, guard, facts, why):
    """
    No policy reaches what the system and its administrators need.
    """
    key = host.add(**facts)

    with pytest.raises(Refused, match=why):
        guard()(key)


@pytest.mark.parametrize("image", ["/tmp/sshd", "/usr/sbin/sshd2", "/x/usr/sbin/sshd"])
def test_name_of_a_system_program_protects_nobody(host, guard, image):
    """
    Only the place counts, and all of it.
    """
    guard()(host.add(70, image=image))


def test_look_alike_in_another_mount_namespace_is_not_protected(host, guard):
    """
    A path that means another file to the process than to us protects nobody.
    """
    key = host.add(70, image=look_alike("/usr/bin/dbus-daemon"), shares_mounts=False)

    guard()(key)


def test_genuine_program_with_its_own_mounts_is_protected(host, guard, tmp_path):
    """
    A sandboxed service has mounts of its own, but runs the file that we see as well.
    """
    allowed = tmp_path / "service"
    allowed.write_bytes(b"")
    settings = Settings(allow=Allow(images=(str(allowed),)))
    key = host.add(70, image=real(str(allowed)), shares_mounts=False)

    with pytest.raises(Refused, match="allowed images"):
        guard(settings)(key)


def test_upgraded_program_is_still_protected(host, guard):
    """
    After an upgrade sshd runs on from a file that has no name any more.
    """
    image = Image(path="/usr/sbin/sshd", device=1, inode=1, link_count=0, is_named=False)

    with pytest.raises(Refused, match="sshd"):
        guard()(host.add(70, image=image))


def test_daemon_its_ancestors_and_helpers_are_refused(host, guard):
    """
    Whatever would take the daemon down with it is left alone.
    """
    shell = host.add(40, parent=30)
    daemon = host.add(os.getpid(), parent=40)
    grandparent = host.add(30, parent=1)
    keeper = host.add(99, parent=os.getpid())
    check = guard(ours=(99,))

    for key in (daemon, shell, grandparent, keeper):
        with pytest.raises(Refused, match="daemon"):
            check(key)


def test_unknown_process_is_refused(guard):
    """
    What our PID namespace has no number for cannot be named, so it cannot be acted on.
    """
    with pytest.raises(Refused, match="namespace"):
        guard()(UNKNOWN_PROCESS)


SHELL = os.path.realpath("/bin/sh")


@pytest.mark.parametrize("argv", [("-sh",), ("sh", "-l"), ("sh", "--login", "-i")])
def test_login_shell_is_refused(host, guard, argv):
    """
    The shell that leads a session on a terminal is where an administrator sits.
    """
    key = host.add(80, image=real(SHELL), session=80, tty=34816, argv=argv)

    with pytest.raises(Refused, match="login shell"):
        guard()(key)


@pytest.mark.parametrize(
    "facts",
    [
        {"argv": ("sh", "/tmp/.x/miner.sh")},
        {"argv": ("sh", "-c", "while :; do :; done")},
        {"argv": ("-sh",), "tty": 0},
        {"argv": ("-sh",), "session": 79},
        {"argv": ("-sh",), "image": look_alike(SHELL), "shares_mounts": False},
        {"argv": ("-sh",), "image": "/tmp/sh"},
    ],
)
def test_what_only_resembles_a_login_shell_is_not_protected(host, guard, facts):
    """
    A shell with something to run, without a terminal, or that is another file, is a program.
    """
    key = host.add(80, **{"image": real(SHELL), "session": 80, "tty": 34816, **facts})

    guard()(key)


@pytest.mark.parametrize(
    ("unit", "path"),
    [
        ("redis.service", "/system.slice/redis.service"),
        ("redis.service", "/system.slice/redis.service/worker"),
        ("batch.slice", "/batch.slice/job-7.scope"),
    ],
)
def test_allowed_unit_is_refused(host, guard, unit, path):
    """
    Its processes are alerted on, and no more, however deep they are.
    """
    settings = Settings(allow=Allow(units=(unit,)))

    with pytest.raises(Refused, match=unit):
        guard(settings)(host.add(90, cgroups=(path,)))


def test_unit_of_another_name_is_not_allowed(host, guard):
    """
    A unit is a whole component of the path, not a part of one.
    """
    settings = Settings(allow=Allow(units=("redis.service",)))

    guard(settings)(host.add(90, cgroups=("/system.slice/not-redis.service",)))


CONTAINER = "ab" * 32


@pytest.mark.parametrize(
    ("scope", "facts"),
    [
        (Scope(cgroups=("/a/b",)), {"cgroups": ("/a/b", "/elsewhere")}),
        (Scope(cgroups=("/a/b",)), {"cgroups": ("/a/b/c",)}),
        (Scope(cgroups=("/",)), {"cgroups": ("/anything",)}),
        (Scope(users=("1000",)), {}),
        (Scope(users=("root",)), {"users": frozenset({0, 1000})}),
        (Scope(containers=(CONTAINER[:12],)), {"cgroups": (f"/x/docker-{CONTAINER}.scope",)}),
        (Scope(cgroups=("/a",), users=("1000",)), {"cgroups": ("/a",)}),
    ],
)
def test_process_in_scope_passes(host, guard, scope, facts):
    """
    What the scope names, and all below it.
    """
    guard(Settings(scope=scope))(host.add(90, **facts))


@pytest.mark.parametrize(
    ("scope", "facts"),
    [
        (Scope(cgroups=("/a/b",)), {"cgroups": ("/a",)}),
        (Scope(cgroups=("/a/b",)), {"cgroups": ("/a/bc",)}),
        (Scope(cgroups=("/a/b",)), {"cgroups": ("/elsewhere", "/a/b")}),
        (Scope(users=("1000",)), {"users": frozenset({1001})}),
        (Scope(containers=(CONTAINER[:12],)), {"cgroups": ("/x/docker-" + "cd" * 32,)}),
        (Scope(cgroups=("/a",), users=("1001",)), {"cgroups": ("/a",)}),
    ],
)
def test_process_outside_scope_is_refused(host, guard, scope, facts):
    """
    All that is set must be met, by the process as it is now.
    """
    with pytest.raises(Refused, match="scope"):
        guard(Settings(scope=scope))(host.add(90, **facts))


def test_scope_with_an_account_that_is_not_there_is_a_mistake(guard):
    """
    A misspelt name must not silently protect everybody.
    """
    with pytest.raises(ConfigError, match="nobody-by-this-name"):
        guard(Settings(scope=Scope(users=("nobody-by-this-name",))))
