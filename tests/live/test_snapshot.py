# SPDX-License-Identifier: Apache-2.0
"""What runs and what is connected when the daemon starts, on a real host."""

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firedamp.cgroups import cgroup2_mount
from firedamp.events.model import CgroupNamed, ConnectionFound, ProcessFound, ProcessKey
from firedamp.sources import cputimes, procfs, sockdiag
from firedamp.sources.fanotify import open_by_handle
from firedamp.sources.inspect import Cgroups, ImageHashes, Inspector

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]

SO_COOKIE = 57
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    """
    Start a program that says a line when it is ready; it ends with the test.
    """
    with contextlib.ExitStack() as stack:

        def start(*command: str, **options: object) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            return process

        yield start


def python(code: str) -> tuple[str, ...]:
    """A command that runs some Python, says so, and waits."""
    wait = "print('ready', flush=True); sys.stdin.read()"
    return sys.executable, "-IS", "-c", f"import ctypes, os, socket, sys, threading\n{code}\n{wait}"


def found(pid: int) -> ProcessFound:
    """What the snapshot has of a process, which must be there."""
    return next(p for p in procfs.snapshot(cgroup2_mount()) if p.process.pid == pid)


def test_a_process_is_found_as_it_is(start, tmp_path):
    """
    Every field that the exec probe would have told.
    """
    image = os.path.realpath(sys.executable)
    command = python("os.setgid(4321); os.setuid(1234)")
    process = start(*command, "a b", "", cwd=tmp_path)

    at = found(process.pid)

    stat = os.stat(image)
    assert (at.image, at.argv) == (image, (*command, "a b", ""))
    assert (at.cwd, at.comm, at.uid, at.gid) == (str(tmp_path), "python", 1234, 4321)
    assert (at.inode, at.link_count, at.mode) == (stat.st_ino, stat.st_nlink, stat.st_mode)
    assert at.device == os.major(stat.st_dev) << 20 | os.minor(stat.st_dev)
    assert at.image_uid == 0
    assert at.parent == procfs.process_key(os.getpid())
    for number, name in ((at.mount_ns, "mnt"), (at.pid_ns, "pid"), (at.net_ns, "net")):
        assert number == os.stat(f"/proc/{process.pid}/ns/{name}").st_ino


def test_everybody_is_found_parents_first_and_no_kernel_thread():
    """
    Who was started by whom is known before what they do is judged.
    """
    snapshot = procfs.snapshot()

    seen: set[ProcessKey] = set()
    for process in snapshot:
        assert process.parent.pid == 0 or process.parent in seen
        seen.add(process.process)
    assert [p.at_ns for p in snapshot] == sorted(p.at_ns for p in snapshot)
    assert len(seen) == len(snapshot)
    assert procfs.process_key(os.getpid()) in seen
    threads = kernel_threads()
    assert not threads & {key.pid for key in seen}
    assert not threads & {process.parent.pid for process in snapshot}


def kernel_threads() -> set[int]:
    """
    PIDs that the kernel marks as its own threads (PF_KTHREAD); none in a container.
    """
    found = set()
    for pid in procfs.pids():
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            if int(fields[6]) & 0x00200000:
                found.add(pid)
    return found


def test_a_name_chosen_to_confuse_does_not(start):
    """
    The name in /proc/PID/stat may hold all that separates its fields.
    """
    name = "x) R 1 (\n) S"
    process = start(*python(f"ctypes.CDLL(None).prctl(15, {name!r}.encode())"))

    at = found(process.pid)

    assert at.comm == name
    assert at.parent.pid == os.getpid()


def test_a_name_in_brackets_is_not_a_kernel_thread(start):
    """
    Neither the name nor an empty command line lets anyone pass for one.
    """
    process = start(*python("ctypes.CDLL(None).prctl(15, b'kworker/0:0')"), executable=None)

    assert found(process.pid).comm == "kworker/0:0"


def test_a_deleted_image_is_found_without_a_link(start, tmp_path):
    """
    Its path is what it was, and the link count tells that nothing has it any more.
    """
    program = tmp_path / "miner"
    shutil.copy("/bin/bash", program)
    process = start(str(program), "-c", "echo ready; read x")
    program.unlink()

    at = found(process.pid)

    assert (at.image, at.link_count) == (str(program), 0)
    assert at.inode != 0


def test_a_file_that_is_called_deleted_is_not(start, tmp_path):
    """
    The words that the kernel adds can be part of a name.
    """
    program = tmp_path / "miner (deleted)"
    shutil.copy("/bin/bash", program)
    process = start(str(program), "-c", "echo ready; read x")

    at = found(process.pid)

    assert (at.image, at.link_count) == (str(program), 1)


def test_an_image_in_memory_is_found(start):
    """
    As the exec probe names it.
    """
    code = (
        "fd = os.memfd_create('x', 0); os.write(fd, open('/bin/bash', 'rb').read())\n"
        "os.execve(fd, ['bash', '-c', 'echo ready; read x'], {})"
    )
    process = start(*python(code))

    at = found(process.pid)

    assert (at.image, at.link_count) == ("/memfd:x", 0)


def test_a_process_whose_first_thread_ended_is_found(start):
    """
    Its own entries in /proc are empty, as those of a zombie; another thread runs on.
    """
    code = (
        "libc = ctypes.CDLL(None)\n"
        "threading.Thread(target=lambda: (print('ready', flush=True), sys.stdin.read())).start()\n"
        "libc.syscall(60 if os.uname().machine == 'x86_64' else 93, 0)"
    )
    process = start(*python(code))
    deadline = time.monotonic() + 5
    while b"(zombie)" not in Path(f"/proc/{process.pid}/status").read_bytes():
        assert time.monotonic() < deadline

    at = found(process.pid)

    assert at.image == os.path.realpath(sys.executable)
    assert at.argv[0] == sys.executable


def test_a_zombie_is_not_found():
    """
    It runs nothing any more.
    """
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    snapshot = procfs.snapshot()

    assert pid not in {process.process.pid for process in snapshot}
    os.waitpid(pid, 0)


def test_a_mount_over_its_directory_hides_nobody(start):
    """
    `mount --bind /empty /proc/PID` fools ps, top and us, if we looked there.
    """
    process = start("/bin/bash", "-c", "echo ready; read x")
    there = f"/proc/{process.pid}"
    subprocess.run(["mount", "-t", "tmpfs", "none", there], check=True)
    try:
        assert os.listdir(there) == []
        at = found(process.pid)
    finally:
        subprocess.run(["umount", there], check=True)

    assert at.argv == ("/bin/bash", "-c", "echo ready; read x")


def test_arguments_are_cut_where_the_probe_cuts_them(start):
    """
    A process found gets the verdict of one that was seen to start.
    """
    process = start(*python("''"), "x" * 5000)

    at = found(process.pid)

    assert at.argv_cut
    assert sum(len(argument) + 1 for argument in at.argv) <= procfs.MAX_ARGV_BYTES + 1


def test_a_title_that_a_process_wrote_itself_ends_where_it_ends(start):
    """
    Servers write over their arguments and fill what is left with NULs: no empty arguments.
    """
    code = (
        "fields = open('/proc/self/stat').read().rpartition(')')[2].split()\n"
        "start, end = int(fields[45]), int(fields[46])\n"
        "memory = os.open('/proc/self/mem', os.O_RDWR)\n"
        "os.pwrite(memory, b'nginx: master'.ljust(end - start, b'\\0'), start)"
    )
    process = start(*python(code))

    assert found(process.pid).argv == ("nginx: master",)


def test_processes_that_come_and_go_do_no_harm(start):
    """
    The snapshot is taken of a host that does not hold still.
    """
    start("/bin/bash", "-c", "echo ready; while :; do /bin/true; done")

    for _ in range(30):
        for process in procfs.snapshot():
            assert process.image or process.process.pid == 1, process


def test_who_a_record_means_is_told_by_its_pidfd():
    """
    A PID that has come round again is somebody else.
    """
    pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
    pidfd = os.pidfd_open(pid)
    key = procfs.process_key(pid)

    alive = procfs.identify(pid, pidfd)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    # The number stands for one that lives, as if it had been given out again.
    gone = procfs.identify(os.getpid(), pidfd)
    os.close(pidfd)

    assert alive == (key, 0)
    assert gone == (ProcessKey(os.getpid(), 0), procfs.NO_UID)


def test_cpu_time_is_that_of_all_threads(start):
    """
    Four threads that are busy for a while have used their time together.
    """
    code = (
        "import hashlib, time\n"
        "done, forever = threading.Semaphore(0), threading.Event()\n"
        "def burn():\n"
        "    end = time.thread_time() + 0.3\n"
        "    while time.thread_time() < end: hashlib.sha256(bytes(100000)).digest()\n"
        "    done.release(); forever.wait()\n"
        "for _ in range(4): threading.Thread(target=burn, daemon=True).start()\n"
        "for _ in range(4): done.acquire()"
    )
    process = start(*python(code))

    [measured] = cputimes.measure([process.pid, 2**22 + 1])

    assert measured.process == procfs.process_key(process.pid)
    assert 1.2e9 <= measured.cpu_ns < 2e9
    assert measured.threads == 5


def cookie(sock: socket.socket) -> int:
    """The kernel's own name for a socket."""
    return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8), sys.byteorder)


def connections() -> dict[int, ConnectionFound]:
    """What is found, by cookie."""
    return {c.cookie: c for c in sockdiag.connections(procfs.snapshot())}


@pytest.mark.parametrize(
    ("family", "kind", "at", "to"),
    [
        (socket.AF_INET, socket.SOCK_STREAM, "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET6, socket.SOCK_STREAM, "::1", "::1"),
        (socket.AF_INET6, socket.SOCK_STREAM, "127.0.0.1", "::ffff:127.0.0.1"),
        (socket.AF_INET, socket.SOCK_DGRAM, "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET6, socket.SOCK_DGRAM, "::1", "::1"),
    ],
)
def test_a_connection_is_found_with_its_owner(family, kind, at, to):
    """
    By the cookie that the probes would have told, too.
    """
    with (
        socket.socket(socket.AF_INET6 if ":" in at else socket.AF_INET, kind) as server,
        socket.socket(family, kind) as client,
    ):
        server.bind((at, 0))
        if kind == socket.SOCK_STREAM:
            server.listen()
        port = server.getsockname()[1]
        client.connect((to, port))

        connection = connections()[cookie(client)]

    assert connection.process == procfs.process_key(os.getpid())
    assert (connection.address, connection.port, connection.uid) == (at, port, 0)
    assert connection.transport == ("tcp" if kind == socket.SOCK_STREAM else "udp")


def test_what_others_opened_is_not_found():
    """
    Neither who listens nor who was accepted has asked for a connection.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        with client, accepted, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unconnected:
            unconnected.bind(("127.0.0.1", 0))

            cookies = set(connections())

            assert cookie(client) in cookies
            assert not cookies & {cookie(server), cookie(accepted), cookie(unconnected)}


def test_the_youngest_holder_owns_a_socket(start):
    """
    A server hands its sockets down; who works with one is the child.
    """
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        time.sleep(0.02)
        child = start(*python("''"), pass_fds=[client.fileno()])

        connection = connections()[cookie(client)]

    assert connection.process == ProcessKey(child.pid, connection.process.started_ticks)


@pytest.mark.usefixtures("network_host")
def test_connections_in_other_network_namespaces_are_found(start):
    """
    A container's are: the namespace is entered by a thread, and we stay where we are.
    """
    code = (
        "libc = ctypes.CDLL(None)\nassert libc.unshare(0x40000000) == 0\n"
        "import fcntl, struct\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "fcntl.ioctl(s, 0x8914, struct.pack('16sH14x', b'lo', 1))\n"
        "server = socket.create_server(('127.0.0.1', 3333))\n"
        "client = socket.create_connection(('127.0.0.1', 3333))"
    )
    process = start(*python(code))
    here = os.stat("/proc/self/ns/net").st_ino

    [connection] = [c for c in connections().values() if c.process.pid == process.pid]

    assert (connection.address, connection.port, connection.transport) == ("127.0.0.1", 3333, "tcp")
    assert os.stat("/proc/self/ns/net").st_ino == here
    assert os.stat(f"/proc/{process.pid}/ns/net").st_ino != here


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """
    A cgroup of our own, with one below it.
    """
    root = cgroup2_mount()
    if not root:
        pytest.skip("needs cgroup v2")
    path = Path(root) / f"firedamp-test-{os.getpid()}"
    (path / "below").mkdir(parents=True)
    yield path
    for directory in (path / "below", path):
        if directory.exists():
            directory.rmdir()


def test_a_cgroup_is_named_by_the_id_that_a_process_carries(start, cgroup):
    """
    From the process's id to the path, which says unit and container.
    """
    process = start("/bin/bash", "-c", "echo ready; read x")
    (cgroup / "below/cgroup.procs").write_text(str(process.pid))
    inspector = Inspector(cgroup2_mount())

    event = found(process.pid)
    named = [e for e in inspector.named([event, event]) if isinstance(e, CgroupNamed)]
    inspector.close()
    process.kill()
    process.wait()

    assert [(e.cgroup_id, e.path) for e in named] == [
        (event.cgroup_id, f"/{cgroup.name}/below"),
    ]
    assert event.cgroup_id == (cgroup / "below").stat().st_ino


def test_a_cgroup_that_is_gone_has_no_name(cgroup):
    """
    And is not looked for again and again.
    """
    cgroups = Cgroups(cgroup2_mount())
    number = (cgroup / "below").stat().st_ino
    mount = os.open(cgroup2_mount(), os.O_RDONLY)
    try:
        os.close(open_by_handle(mount, struct.pack("=IiQ", 8, 0xFE, number)))
    except PermissionError as error:
        pytest.skip(f"needs open_by_handle_at(2): {error.strerror}")
    finally:
        os.close(mount)
    assert cgroups.path(number) == f"/{cgroup.name}/below"
    assert cgroups.path(Path(cgroup2_mount()).stat().st_ino) == "/"

    (cgroup / "below").rmdir()

    assert cgroups.path(number) == ""
    cgroups.close()


def test_cgroups_are_named_without_the_right_to_open_by_handle(cgroup):
    """
    In a container the tree is read instead.
    """
    number = (cgroup / "below").stat().st_ino
    code = (
        "import sys\nfrom firedamp.sources.inspect import Cgroups\n"
        f"c = Cgroups({cgroup2_mount()!r})\nprint(c.path({number}))\nassert c.path(1 << 40) is None"
    )
    libc = ctypes.CDLL(None, use_errno=True)

    def drop() -> None:
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, from what exec gives
            libc.prctl(24, capability, 0, 0, 0)

    path = os.pathsep.join(entry for entry in sys.path if entry)
    told = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=drop,
    )

    assert told.stdout == f"/{cgroup.name}/below\n"


def test_an_image_is_hashed_even_if_deleted(start, tmp_path):
    """
    What runs is hashed, not what lies at its path now.
    """
    program = tmp_path / "miner"
    shutil.copy("/bin/bash", program)
    expected = subprocess.run(["sha256sum", program], capture_output=True, text=True, check=True)
    process = start(str(program), "-c", "echo ready; read x")
    program.unlink()
    program.write_text("something else")
    key = procfs.process_key(process.pid)
    assert key is not None
    hashes = ImageHashes()

    assert hashes.of_process(key) == expected.stdout.split()[0]
    assert hashes.of_process(key) == expected.stdout.split()[0]
    assert hashes.of_process(ProcessKey(key.pid, 1)) == ""
