# SPDX-License-Identifier: Apache-2.0

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firedamp.errors import ActionError
from firedamp.response.system_host import SystemHost, parse_stat

LINE = b"42 (%s) S 1 42 40 34816 42 4194560 " + b"0 " * 12 + b"777 " + b"0 " * 30


@pytest.fixture
def started():
    """Start programs that are ended with the test."""
    running = []

    def start(*command, **options):
        process = subprocess.Popen(command, **options)
        running.append(process)
        return parse_stat(process.pid, Path(f"/proc/{process.pid}/stat").read_bytes()).key

    yield start
    for process in running:
        process.kill()
        process.wait()


@pytest.mark.parametrize("name", [b"sh", b"a) S 9 9", b"((", b"\xff\xfe", b"new\nline"])
def test_name_of_a_process_cannot_forge_its_state(name):
    """
    It may hold blanks and brackets, which are all that divides the line.
    """
    stat = parse_stat(42, LINE % name)

    assert stat.key == (42, 777)
    assert (stat.state, stat.parent_pid, stat.group, stat.session) == ("S", 1, 42, 40)
    assert os.fsencode(stat.comm) == name


@given(st.binary(max_size=300))
def test_other_lines_are_our_own_error(raw):
    """
    Whatever the kernel writes one day, the daemon lives.
    """
    with contextlib.suppress(ActionError):
        parse_stat(1, raw)


def test_own_process_looks_as_it_is():
    """
    The facts that guards rest on, of a process that the test knows all about.
    """
    host = SystemHost()
    key = parse_stat(os.getpid(), Path("/proc/self/stat").read_bytes()).key

    image = host.image(key)
    assert os.path.samefile(image.path, sys.executable)
    assert image.is_named
    assert host.stat(key).parent_pid == os.getppid()
    assert os.getuid() in host.users(key)
    assert host.shares_mounts(key)
    assert host.cwd(key) == os.getcwd()
    assert host.cgroups(key)[0].startswith("/")


def test_children_of_every_thread_are_found(started):
    """
    A child belongs to the thread that made it.
    """
    code = (
        "import subprocess, threading, time\n"
        "def go(): subprocess.Popen(['/bin/sleep', '60']); time.sleep(60)\n"
        "for _ in range(3): threading.Thread(target=go, daemon=True).start()\n"
        "time.sleep(60)"
    )
    key = started(sys.executable, "-I", "-c", code)
    host = SystemHost()
    until = time.monotonic() + 10
    while len(host.children(key)) < 3 and time.monotonic() < until:
        time.sleep(0.02)

    children = host.children(key)
    by_scan = [stat.key for stat in host.everyone() if stat.parent_pid == key.pid]

    assert len(children) == 3
    assert sorted(children) == sorted(by_scan)
    host.lists_children = False
    assert sorted(host.children(key)) == sorted(children)
    for child in children:
        os.kill(child.pid, 9)


def test_process_whose_first_thread_ended_still_runs(started):
    """
    What /proc shows of the first thread alone says that it is dead.
    """
    code = (
        "import ctypes, threading\n"
        "def work():\n"
        "    while True: pass\n"
        "threading.Thread(target=work).start()\n"
        "ctypes.CDLL(None).pthread_exit(None)\n"
    )
    key = started(sys.executable, "-I", "-c", code)
    host = SystemHost()
    until = time.monotonic() + 10
    while host.stat(key).state != "Z" and time.monotonic() < until:
        time.sleep(0.02)

    assert host.stat(key).state == "Z"
    assert host.standing(key) == "running"


def test_urgent_work_runs_before_everybody_else():
    """
    For as long as it takes, and nothing that is started meanwhile inherits it.
    """
    before = os.sched_getscheduler(0)
    with SystemHost().urgent():
        if os.sched_getscheduler(0) == before:
            pytest.skip("needs the right to real-time scheduling")
        assert os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO
        child = subprocess.run(
            [sys.executable, "-I", "-c", "import os; print(os.sched_getscheduler(0))"],
            capture_output=True,
            text=True,
            check=True,
        )

    assert int(child.stdout) == os.SCHED_OTHER
    assert os.sched_getscheduler(0) == before


def test_deleted_image_is_told_from_one_whose_name_says_so(started, tmp_path):
    """
    ` (deleted)` may be part of a name.
    """
    host = SystemHost()
    odd = tmp_path / "x (deleted)"
    gone = tmp_path / "gone"
    for path in (odd, gone):
        path.write_bytes(Path("/bin/sleep").read_bytes())
        path.chmod(0o755)
    odd_key, gone_key = started(str(odd), "60"), started(str(gone), "60")
    gone.unlink()

    assert (host.image(odd_key).path, host.image(odd_key).is_named) == (str(odd), True)
    assert (host.image(gone_key).path, host.image(gone_key).is_named) == (str(gone), False)
    with open(host.open_image(gone_key), "rb") as file:
        assert file.read() == Path("/bin/sleep").read_bytes()


def test_deaths_are_awaited_and_survivors_named(started):
    """
    In time, or not.
    """
    host = SystemHost()
    dying, living = started("/bin/sleep", "0.1"), started("/bin/sleep", "60")
    for key in (dying, living):
        host.pin(key)

    assert host.await_deaths([dying, living], 1.0) == {living}

    host.release([dying, living])
