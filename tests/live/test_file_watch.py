# SPDX-License-Identifier: Apache-2.0
"""That what is watched stays what should be: places that come, go and are swapped; floods."""

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from firedamp.events.model import UNKNOWN_PROCESS, FileChanged, ProcessKey
from firedamp.settings import Watch, WatchedPlace
from firedamp.sources.files import VARIANTS, FileWatch

from .file_scene import ORIGINAL, PRELUDE, Scene, directory_on

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.usefixtures("fanotify_host"),
]


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


def test_a_replaced_file_goes_on_being_watched(scene):
    """
    The mark is on the inode: the new one needs its own, also for writes from elsewhere.
    """
    scene.does("os.link(other + '/payload', other + '/p'); os.rename(other + '/payload', file)")
    assert scene.operations() == [("rename", "etc/crontab")]

    scene.does("open(other + '/p', 'a').write('more\\n')")
    [event] = scene.told()

    assert (event.operation, event.path) == ("write", str(scene.file))
    assert event.added_lines == ("more",)


def test_a_file_moved_from_one_place_to_another_goes_on_being_watched(scene):
    """
    Each place tells of its own end of the move, one before the other.
    """
    scene.does("os.link(file, other + '/p'); os.rename(file, place + '/x')")
    assert ("rename", "etc/cron.d/x") in scene.operations()

    scene.does("open(other + '/p', 'a').write('more\\n')")

    assert scene.operations() == [("write", "etc/cron.d/x")]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.hook)
def test_a_file_removed_and_made_again_goes_on_being_watched(directory, variant):
    """
    The news of the removal comes when there is a new file already.
    """
    scene = Scene(directory, (variant,))
    scene.does("os.unlink(place + '/known'); os.link(other + '/payload', place + '/known')")
    scene.told()

    scene.does("open(other + '/payload', 'a').write('more\\n')")
    told = scene.operations()
    scene.close()

    assert told == [("write", "etc/cron.d/known")]


def test_a_created_file_is_told_once_and_its_close_not(scene):
    """
    What it held when its creation was told is no news when it is closed.
    """
    scene.does("global a; a = open(place + '/x', 'w'); a.write('evil\\n'); a.flush()")
    [event] = scene.told()
    scene.ends()

    assert (event.operation, event.added_lines) == ("create", ("evil",))
    assert scene.told() == []


def test_files_put_into_a_new_directory_at_once_are_told_once(scene):
    """
    The walk through the new directory and the news of what is put into it overlap.
    """
    code = (
        "d = root + '/home/bob/.config/systemd/user'; os.makedirs(d)\n"
        "for n in range(1500): open(d + f'/{n}', 'w').write('evil\\n')"
    )
    paths = map(str, (scene.root, scene.file, scene.place, scene.other))
    program = subprocess.Popen([sys.executable, "-IS", "-c", PRELUDE + code, *paths])
    told: list[FileChanged] = []
    while program.poll() is None:
        told += scene.watch.read()
    told += scene.told()

    created = [os.path.basename(event.path) for event in told if event.operation == "create"]

    assert sorted(created) == sorted(["user", *map(str, range(1500))])


def test_a_place_that_comes_to_be_later_is_watched(scene):
    """
    `~/.ssh` did not exist; what is put into it, however soon, is told.
    """
    keys = scene.root / "home/bob/.ssh/authorized_keys"
    scene.does(
        "os.makedirs(root + '/home/bob/.ssh')\n"
        "open(root + '/home/bob/.ssh/authorized_keys', 'w').write('ssh-rsa AAA\\n')"
    )
    [created] = scene.told()

    scene.does("open(root + '/home/bob/.ssh/authorized_keys', 'a').write('ssh-rsa BBB\\n')")
    [written] = scene.told()

    assert (created.operation, created.path, created.place) == ("create", str(keys), "ssh_keys")
    assert (written.operation, written.path) == ("write", str(keys))
    assert created.added_lines + written.added_lines == ("ssh-rsa AAA", "ssh-rsa BBB")


def test_a_new_account_is_watched(scene):
    """
    Homes are learned from the passwd file, and learned again when that changes.
    """
    scene.does("open(root + '/etc/passwd', 'a').write('eve:x:0:0::/srv/eve:/bin/sh\\n')")
    assert scene.operations() == [("write", "etc/passwd")]

    scene.does(
        "os.makedirs(root + '/srv/eve')\nopen(root + '/srv/eve/.profile', 'w').write('evil\\n')"
    )
    assert scene.operations() == [("create", "srv/eve/.profile")]


def test_an_account_that_goes_leaves_its_files(scene):
    """
    What is not watched any more is not gone: nobody deleted it.
    """
    scene.does("open(root + '/etc/passwd', 'a').write('eve:x:0:0::/srv/eve:/bin/sh\\n')")
    scene.told()
    scene.does("os.makedirs(root + '/srv/eve'); open(root + '/srv/eve/.profile', 'w').close()")
    scene.told()

    scene.does("open(root + '/etc/passwd', 'w').close()")

    assert scene.operations() == [("write", "etc/passwd")]


def test_a_directory_swapped_by_rename_is_watched(scene):
    """
    The old directory's files are gone from the place and the new one's are news.
    """
    scene.does(
        "os.mkdir(other + '/d'); open(other + '/d/evil', 'w').write('evil\\n')\n"
        "os.rename(place, other + '/old'); os.rename(other + '/d', place)"
    )
    told = scene.operations()
    scene.does("open(place + '/more', 'w').close()")

    assert ("delete", "etc/cron.d/known") in told
    assert ("create", "etc/cron.d/evil") in told
    assert scene.operations() == [("create", "etc/cron.d/more")]


def test_a_file_system_mounted_over_a_place_is_noticed(scene):
    """
    Nothing is written then, but other files are in effect; who did it is not told.
    """
    subprocess.run(["mount", "-t", "tmpfs", "none", scene.place], check=True)
    try:
        scene.tells("delete", "etc/cron.d/known")
        scene.does("open(place + '/x', 'w').close()")
        after = scene.operations()
    finally:
        scene.ends()
        subprocess.run(["umount", scene.place], check=True)

    assert after == [("create", "etc/cron.d/x")]
    scene.tells("create", "etc/cron.d/known")


def test_our_own_changes_are_taken_in_and_not_told(scene):
    """
    What a clean-up removes is not in the file any more: if it comes back, that is news.
    """
    scene.does("open(file, 'a').write('evil\\n')")
    assert scene.operations() == [("write", "etc/crontab")]

    scene.file.write_text(ORIGINAL)
    (scene.place / "known").unlink()
    assert scene.operations() == []

    scene.does("open(file, 'a').write('evil\\n'); open(place + '/known', 'w').write('known\\n')")
    assert [event.added_lines for event in scene.told()] == [("evil",), ("known",)]


def test_an_editor_that_moves_the_old_file_away_adds_only_what_is_new(scene):
    """
    All lines of the new file would else pass for added, and be cleaned.
    """
    scene.does(
        "os.rename(file, file + '~')\n"
        "open(file, 'w').write(open(file + '~').read() + 'mine\\n')\nos.unlink(file + '~')"
    )

    told = scene.told()

    assert [event.operation for event in told] == ["delete", "create"]
    assert told[1].added_lines == ("mine",)


def test_a_file_that_is_emptied_before_it_is_written_adds_only_what_is_new(scene):
    """
    We may look at it in between, and what others had in it is not its writer's.
    """
    scene.does("open(file, 'w')")
    assert scene.operations() == [("write", "etc/crontab")]

    scene.does(f"open(file, 'w').write({ORIGINAL!r} + 'mine\\n')")

    assert [event.added_lines for event in scene.told()] == [("mine",)]


def test_a_store_through_a_mapping_that_stays_is_told_when_another_hook_sees_it(scene):
    """
    The kernel's reports are silent until the mapping ends; a hook that knows the inode is not.
    """
    facts = scene.file.stat()
    device = os.major(facts.st_dev) << 20 | os.minor(facts.st_dev)
    who = scene.does(
        "global m; fd = os.open(file, os.O_RDWR); m = mmap.mmap(fd, 0); os.close(fd)\n"
        "m[0:5] = b'evil\\n'; m.flush()"
    )
    assert scene.operations() == []

    [event] = scene.watch.wrote(device, facts.st_ino, who, 0)
    scene.ends()

    assert (event.operation, event.path, event.process) == ("write", str(scene.file), who)
    assert event.added_lines[0] == "evil"
    assert scene.operations() == []  # the close brings nothing new
    assert scene.watch.describe(device, facts.st_ino) == (str(scene.file), "cron")
    assert (device, facts.st_ino) in scene.watch.watched_inodes()


def test_a_store_that_no_hook_can_see_is_looked_for(scene):
    """
    The first store to a page is told before it is done, and the second not at all.
    """
    facts = scene.file.stat()
    device = os.major(facts.st_dev) << 20 | os.minor(facts.st_dev)
    who = scene.does(
        "fd = os.open(file, os.O_RDWR); m = mmap.mmap(fd, 0); os.close(fd)\n"
        "m[0:1] = m[0:1]; print('done', flush=True); sys.stdin.readline()\n"
        "m[0:5] = b'evil\\n'"
    )
    assert scene.watch.wrote(device, facts.st_ino, who, 0) == []
    scene.goes_on()

    event = scene.tells("write", "etc/crontab")

    assert (event.process, event.added_lines[0]) == (who, "evil")


def test_a_write_that_two_hooks_see_is_told_once(scene):
    """
    Whichever of them comes first.
    """
    facts = scene.file.stat()
    device = os.major(facts.st_dev) << 20 | os.minor(facts.st_dev)
    who = scene.does("global a; a = open(file, 'a'); a.write('one\\n'); a.flush()")
    assert scene.operations() == [("write", "etc/crontab")]
    assert scene.watch.wrote(device, facts.st_ino, who, 0) == []
    scene.ends()
    assert scene.operations() == []

    time.sleep(0.1)
    other = scene.does("open(file, 'a').write('two\\n')")
    [event] = scene.watch.wrote(device, facts.st_ino, other, 0)
    assert event.added_lines == ("two",)
    assert scene.operations() == []


def test_attributes_of_chattr_are_told_when_another_hook_sees_it(scene):
    """
    With the process, which comparing could not name.
    """
    facts = scene.file.stat()
    device = os.major(facts.st_dev) << 20 | os.minor(facts.st_dev)
    scene.chattr("+i")
    who = ProcessKey(77, 77)

    [event] = scene.watch.wrote(device, facts.st_ino, who, 0)

    assert (event.operation, event.path, event.process) == ("attributes", str(scene.file), who)
    assert scene.watch.compare() == []


def test_attributes_of_chattr_are_found_by_comparing(scene):
    """
    The kernel tells nobody about that ioctl; a look at the file does.
    """
    scene.chattr("+i")
    assert scene.operations() == []

    [event] = scene.watch.compare()

    assert (event.operation, event.path) == ("attributes", str(scene.file))
    assert event.process == UNKNOWN_PROCESS
    assert scene.watch.compare() == []


def test_a_symbolic_link_does_not_lead_out_of_a_root(directory):
    """
    A root may be a container's: what its links mean is below it.
    """
    outside = directory / "outside"
    outside.write_text("outside\n")
    root = directory / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/crontab").symlink_to(outside)
    watch = FileWatch(Watch(roots=(str(root),)))

    facts = outside.stat()
    keys = watch.watched_inodes()
    watch.close()

    assert facts.st_ino not in {inode for _, inode in keys}


def test_places_of_the_administrator_come_first(directory):
    """
    Directories, wildcards and homes are understood in additional places as in the built-in ones.
    """
    (directory / "srv/app/hooks").mkdir(parents=True)
    (directory / "root").mkdir()
    extra = WatchedPlace(place="hooks", paths=("/srv/*/hooks/", "~/.hook"))
    watch = FileWatch(Watch(roots=(str(directory),), extra=(extra,)))
    subprocess.run(["touch", directory / "srv/app/hooks/x", directory / "root/.hook"], check=True)

    told = watch.read()
    watch.close()

    assert [(e.operation, e.place) for e in told if e.operation == "create"] == [
        ("create", "hooks"),
        ("create", "hooks"),
    ]


def test_inodes_that_come_and_go_are_told_to_other_hooks(scene):
    """
    Who else watches by inode must hear of each file that takes a place or leaves it.
    """
    came: set[tuple[int, int]] = set()
    went: set[tuple[int, int]] = set()
    scene.watch.on_change = lambda new, old: (came.update(new), went.update(old))
    known = (scene.place / "known").stat().st_ino
    scene.does("open(place + '/x', 'w').close(); os.unlink(place + '/known')")

    scene.told()

    assert (scene.place / "x").stat().st_ino in {inode for _, inode in came}
    assert known in {inode for _, inode in went}


def test_a_file_written_in_a_loop_does_not_wake_us_for_each_write(scene):
    """
    Whoever writes as fast as he can costs some wake-ups a second, and his last line is told.
    """
    scene.does(
        "fd = os.open(file, os.O_WRONLY | os.O_APPEND)\nend = time.monotonic() + 1\nn = 0\n"
        "subprocess.Popen([sys.executable, '-IS', '-c', '''\n"
        "import os, sys, time\n"
        "fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND); end = time.monotonic() + 1; n = 0\n"
        "while time.monotonic() < end: n += os.write(fd, b'.') \n"
        "os.write(fd, b'\\\\nlast\\\\n')\n''', file])"
    )
    (fd,) = scene.watch.filenos()
    reads, told, started = 0, list[FileChanged](), time.monotonic()
    while "last" not in {line for event in told for line in event.added_lines}:
        assert select.select([fd], [], [], 5)[0]
        told += scene.watch.read()
        reads += 1

    assert reads < 60 * (time.monotonic() - started) + 30


@pytest.mark.parametrize("directory", ["/dev/shm"], indirect=True)
def test_what_has_queued_up_is_read_without_a_rest(scene):
    """
    A batch is bounded, says that there is more, and the next one brings it.
    """
    scene.does("for n in range(12_000): os.close(os.open(place + f'/{n}', os.O_CREAT))")
    batches = [scene.watch.read()]
    while scene.watch.has_more:
        batches.append(scene.watch.read())

    assert sum(map(len, batches)) == 12_000
    assert max(map(len, batches)) < 1000
    assert all(batches[:-1])


FLOOD = 20_000


def flood(scene: Scene, directory: Path) -> None:
    """More names than the queue holds, while nobody reads."""
    code = f"for n in range({FLOOD}): os.close(os.open(f'{directory}/{{n}}', os.O_CREAT))"
    scene.does(code)
    scene.ends()


@pytest.mark.parametrize("directory", ["/dev/shm"], indirect=True)
def test_a_queue_that_overflows_is_a_loss_and_what_it_hid_is_found(scene):
    """
    Who it was is lost; what there is now is not.
    """
    flood(scene, scene.place)
    (scene.place / "0").stat()
    scene.does("open(file, 'a').write('hidden\\n')")

    told = scene.told()
    [loss] = scene.watch.losses()

    created = {event.path for event in told if event.operation == "create"}
    assert len(created) == FLOOD
    assert (loss.kind, loss.count) == ("file", 1)
    assert [e.added_lines for e in told if e.path == str(scene.file)] == [("hidden",)]
    assert scene.watch.losses() == []


@pytest.mark.parametrize("directory", ["/dev/shm"], indirect=True)
def test_a_busy_home_directory_pushes_out_nothing(scene):
    """
    Names that nobody watches fill a queue of their own, and what they hid there is found.
    """
    flood(scene, scene.root / "home/bob")
    scene.does(
        "open(root + '/home/bob/.bashrc', 'w').write('evil\\n'); open(file, 'a').write('new\\n')"
    )

    told = scene.told()

    assert scene.watch.losses() == []
    assert {(e.operation, scene.below(e.path)) for e in told} == {
        ("write", "etc/crontab"),
        ("create", "home/bob/.bashrc"),
    }


def test_closing_frees_every_descriptor(directory):
    """
    The service opens and closes watches as its settings change.
    """
    before = len(os.listdir("/proc/self/fd"))
    Scene(directory).close()

    assert len(os.listdir("/proc/self/fd")) == before


def test_pidfds_of_records_are_closed(scene):
    """
    Each record of a living process holds a descriptor, told or not.
    """
    scene.does("for n in range(50): open(place + f'/{n}', 'w').close()")
    scene.watch.read()
    before = len(os.listdir("/proc/self/fd"))
    scene.does("for n in range(50): os.unlink(place + f'/{n}')")
    running = 2  # its standard streams

    scene.told()

    assert len(os.listdir("/proc/self/fd")) == before + running
