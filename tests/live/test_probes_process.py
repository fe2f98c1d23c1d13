# SPDX-License-Identifier: Apache-2.0
"""What the kernel's process probes tell, compared with what was really done."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from firedamp.events.model import (
    ProcessExecuted,
    ProcessExited,
    ProcessForked,
    ProcessRenamed,
)

from .conftest import Probes, key_of

pytestmark = pytest.mark.live


def executed(probes: Probes, pid: int) -> ProcessExecuted:
    """The process's last exec."""
    probes.until(lambda e: isinstance(e, ProcessExited) and e.process.pid == pid)
    return [e for e in probes.seen if isinstance(e, ProcessExecuted) and e.process.pid == pid][-1]


def test_exec_is_told_whole(probes, tmp_path):
    """Image, arguments, directory, inode, user, cgroup and namespaces are the process's own."""
    program = tmp_path / "a program"
    shutil.copy("/bin/sleep", program)
    child = subprocess.Popen([program, "0.2"], cwd=tmp_path)
    key = key_of(child.pid)
    facts = program.stat()
    namespaces = [os.stat(f"/proc/{child.pid}/ns/{ns}").st_ino for ns in ("mnt", "pid", "net")]

    child.wait()
    event = executed(probes, child.pid)

    assert event.process == key
    assert event.parent == key_of(os.getpid())
    assert event.image == str(program)
    assert event.argv == (str(program), "0.2")
    assert not event.argv_cut
    assert event.cwd == str(tmp_path)
    assert event.comm == "a program"
    assert (event.inode, event.link_count, event.mode) == (facts.st_ino, 1, facts.st_mode)
    assert event.device == os.major(facts.st_dev) << 20 | os.minor(facts.st_dev)
    assert (event.uid, event.gid, event.image_uid) == (os.getuid(), os.getgid(), facts.st_uid)
    assert event.loginuid == int(Path("/proc/self/loginuid").read_text())
    assert [event.mount_ns, event.pid_ns, event.net_ns] == namespaces
    assert event.cgroup_id > 0


def test_long_command_line_is_cut_and_said_to_be(probes):
    """The first 4,096 bytes are kept, and that there was more is not hidden."""
    child = subprocess.Popen(["/bin/true", "x" * 3000, "y" * 3000])
    child.wait()

    event = executed(probes, child.pid)

    assert event.argv_cut
    assert sum(len(one) + 1 for one in event.argv) == 4096 + 1
    assert event.argv[:2] == ("/bin/true", "x" * 3000)


def test_empty_and_odd_arguments_survive(probes):
    """An empty argument, a newline and bytes that are no text arrive as they were."""
    odd = b"\xff\xfe\n"
    child = subprocess.Popen([b"/bin/true", b"", odd, b""])
    child.wait()

    event = executed(probes, child.pid)

    assert event.argv == ("/bin/true", "", os.fsdecode(odd), "")


def test_script_is_named_beside_its_interpreter(probes, tmp_path):
    """For a #! script, the image is the interpreter, and what was asked for is the script."""
    script = tmp_path / "job.sh"
    script.write_text("#!/bin/sh\nexit 0\n")
    script.chmod(0o755)
    child = subprocess.Popen([script])
    child.wait()

    event = executed(probes, child.pid)

    assert event.filename == str(script)
    assert event.image == os.path.realpath("/bin/sh")
    assert event.argv == ("/bin/sh", str(script))


def test_image_in_memory_has_no_link(probes):
    """A program run from a memfd is told with its memfd's name and no link."""
    code = (
        "import os\n"
        "fd = os.memfd_create('payload')\n"
        "os.write(fd, open('/bin/true', 'rb').read())\n"
        "os.execve(fd, ['[kworker/0:0]'], {})\n"
    )
    child = subprocess.Popen([sys.executable, "-I", "-c", code])
    child.wait()

    event = executed(probes, child.pid)

    assert (event.image, event.link_count) == ("/memfd:payload", 0)
    assert event.argv == ("[kworker/0:0]",)


def test_image_deleted_before_exec_has_no_link(probes, tmp_path):
    """A program whose name was removed still shows where it was, and that it has no link."""
    program = tmp_path / "gone"
    shutil.copy("/bin/true", program)
    fd = os.open(program, os.O_PATH)
    program.unlink()
    child = subprocess.Popen([f"/proc/self/fd/{fd}"], pass_fds=[fd])
    child.wait()
    os.close(fd)

    event = executed(probes, child.pid)

    assert (event.image, event.link_count) == (str(program), 0)


def test_path_through_mounts_is_whole(probes, tmp_path):
    """A bind mount's path is the path by which the process's namespace knows the file."""
    (tmp_path / "from").mkdir()
    (tmp_path / "to").mkdir()
    shutil.copy("/bin/true", tmp_path / "from" / "prog")
    run = 'mount --bind from to && exec "$PWD/to/prog"'
    child = subprocess.Popen(["unshare", "--mount", "sh", "-c", run], cwd=tmp_path)
    child.wait()

    event = executed(probes, child.pid)

    assert event.image == str(tmp_path / "to" / "prog")
    assert event.mount_ns != os.stat("/proc/self/ns/mnt").st_ino


def test_very_deep_path_is_told_from_its_end(probes, tmp_path):
    """Of a path deeper than the probe walks, the end is told; nothing is invented."""
    deep = tmp_path
    for _ in range(40):
        deep = deep / "d"
    deep.mkdir(parents=True)
    shutil.copy("/bin/true", deep / "prog")
    child = subprocess.Popen([deep / "prog"])
    child.wait()

    event = executed(probes, child.pid)

    assert str(deep / "prog").endswith(event.image)
    assert event.image.endswith("/d/d/d/prog")


def test_fork_without_exec_names_child_and_parent(probes):
    """A fork is told with both ends, and a double fork keeps who really started whom."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        grandchild = os.fork()
        if grandchild == 0:
            os.write(write, str(os.getpid()).encode())
            os._exit(7)
        os._exit(0)
    os.waitpid(pid, 0)
    grandchild_pid = int(os.read(read, 32))

    first = probes.until(lambda e: isinstance(e, ProcessForked) and e.process.pid == pid)
    second = probes.until(
        lambda e: isinstance(e, ProcessForked) and e.process.pid == grandchild_pid
    )
    ended = probes.until(lambda e: isinstance(e, ProcessExited) and e.process.pid == grandchild_pid)

    assert first.parent == key_of(os.getpid())
    assert second.parent == first.process
    assert ended.process == second.process
    assert ended.exit_code == 7 << 8


def test_threads_are_not_processes(probes):
    """A threaded program gives one fork, one exec and one exit, and its CPU time is whole."""
    code = (
        "import threading, time\n"
        "def spin():\n"
        "    end = time.thread_time() + 0.1\n"
        "    while time.thread_time() < end: pass\n"
        "threads = [threading.Thread(target=spin) for _ in range(4)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
    )
    child = subprocess.Popen([sys.executable, "-I", "-S", "-c", code])
    child.wait()
    ended = probes.until(lambda e: isinstance(e, ProcessExited) and e.process.pid == child.pid)

    mine = [e for e in probes.seen if e.process.pid == child.pid]

    assert [type(e) for e in mine] == [ProcessForked, ProcessExecuted, ProcessExited]
    assert ended.cpu_ns >= 400_000_000


def test_signal_that_killed_is_told(probes):
    """The exit code is the one that wait(2) gives."""
    child = subprocess.Popen(["/bin/sleep", "60"])
    child.send_signal(signal.SIGKILL)
    child.wait()

    ended = probes.until(lambda e: isinstance(e, ProcessExited) and e.process.pid == child.pid)

    assert ended.exit_code & 0x7F == signal.SIGKILL


def test_rename_is_told_but_exec_is_no_rename(probes):
    """prctl(PR_SET_NAME) by the main thread is told; the name that exec sets is not."""
    pid = os.fork()
    if pid == 0:
        ctypes.CDLL(None).prctl(15, b"kworker/0:1", 0, 0, 0)
        os.execv("/bin/true", ["/bin/true"])
    os.waitpid(pid, 0)
    probes.until(lambda e: isinstance(e, ProcessExited) and e.process.pid == pid)

    renames = [e for e in probes.seen if isinstance(e, ProcessRenamed) and e.process.pid == pid]

    assert [e.comm for e in renames] == ["kworker/0:1"]


def test_ten_thousand_execs_are_all_told(probes):
    """Made and told agree, and nothing was dropped."""
    storm = "i=0; while [ $i -lt 10000 ]; do /bin/true; i=$((i+1)); done"
    child = subprocess.Popen(["/bin/sh", "-c", storm])
    while child.poll() is None:
        probes.collect()
    probes.until(lambda e: isinstance(e, ProcessExited) and e.process.pid == child.pid)

    children = {
        e.process
        for e in probes.seen
        if isinstance(e, ProcessExecuted) and e.parent.pid == child.pid
    }

    assert len(children) == 10_000
    assert probes.source.losses(0) == []


def test_flood_of_forks_is_counted_and_displaces_no_exec(probes):
    """With nobody reading, forks that do not fit are counted, and an exec keeps its room."""
    flood = (
        "import os\n"
        "for _ in range(16000):\n"
        "    pid = os.fork()\n"
        "    if pid == 0: os._exit(0)\n"
        "    os.waitpid(pid, 0)\n"
        "os.execv('/bin/true', ['/bin/true', 'after the flood'])\n"
    )
    before = probes.source.made()
    child = subprocess.Popen([sys.executable, "-I", "-S", "-c", flood])
    child.wait()
    made = {kind: n - before[kind] for kind, n in probes.source.made().items()}
    event = probes.until(lambda e: isinstance(e, ProcessExecuted) and "after the flood" in e.argv)
    lost = {loss.kind: loss.count for loss in probes.source.losses(0)}
    forks = sum(isinstance(e, ProcessForked) for e in probes.seen)

    assert event.process.pid == child.pid
    assert lost["fork"] > 0
    assert forks + lost["fork"] >= made["fork"] >= 16_000
    assert "exec" not in lost


def test_pids_are_those_of_the_daemons_namespace(probes):
    """A process of an inner PID namespace is told by its number out here."""
    child = subprocess.Popen(
        ["unshare", "--pid", "--fork", "/bin/sh", "-c", "echo $$; exec /bin/true"],
        stdout=subprocess.PIPE,
        text=True,
    )
    inside = int(child.communicate()[0])
    event = probes.until(
        lambda e: (
            isinstance(e, ProcessExecuted)
            and e.parent.pid == child.pid
            and e.filename == "/bin/true"
        )
    )

    assert inside == 1
    assert event.process.pid > 1
    assert event.pid_ns != os.stat("/proc/self/ns/pid").st_ino


INSIDE = """
import os, subprocess, sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from firedamp.events.model import ProcessExecuted, ProcessForked
from firedamp.paths import probes_dir
from firedamp.sources.bpf.source import BpfSource
from firedamp.sources.bpf.spawn import run_loader
source = BpfSource(run_loader(probes=Path(probes_dir()), cgroup_root="", deny_cgroups=[],
                              cpu_hz=49, scope_uids=False))
child = subprocess.Popen(["/bin/sleep", "0.9"])
outside = int(sys.stdin.readline())  # somebody outside has run something by now
child.wait()
seen, more = [], True
while more:
    batch, more = source.read()
    seen += batch
execs = [e for e in seen if isinstance(e, ProcessExecuted)]
mine = [e for e in execs if e.argv == ("/bin/sleep", "0.9")]
theirs = [e for e in execs if e.argv == ("/bin/true", str(outside))]
print([(e.process.pid, e.parent.pid) for e in mine] == [(child.pid, os.getpid())])
print(len(theirs), {e.process.pid for e in theirs})
source.close()
"""


def test_inside_a_pid_namespace_numbers_are_its_own(bpf_host):
    """A daemon in a container names its neighbours as it can signal them, and nobody else."""
    daemon = str(Path(__file__).parents[2] / "daemon")
    inside = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-I", "-c", INSIDE, daemon],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 20
    while not any("sleep" in Path(f"/proc/{pid}/comm").read_text() for pid in below(inside.pid)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for _ in range(200):  # what lies behind a pid in memory differs from one to the next
        subprocess.run(["/bin/true", str(inside.pid)], check=True)

    out, _ = inside.communicate(f"{inside.pid}\n", timeout=20)

    assert out.splitlines() == ["True", "200 {0}"]


def below(pid: int) -> list[int]:
    """Every process that descends from this one, as the kernel lists them."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [one for child in map(int, children) for one in (child, *below(child))]
