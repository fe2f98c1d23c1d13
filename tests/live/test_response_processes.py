# SPDX-License-Identifier: Apache-2.0
"""Freezing and killing real processes, those that resist among them."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .response_corner import compile_c, corner, key_of, stat_of, state_of, wait_for

pytestmark = pytest.mark.live

RUNS = {"R", "S", "D"}
STANDS = {"T", "D"}
"""D: it waits in the kernel for a child that was stopped between its vfork and its exec."""

TREE = """
import subprocess, sys
depth = int(sys.argv[1])
if depth:
    for _ in range(3):
        subprocess.Popen([sys.executable, "-I", __file__, str(depth - 1)])
while True:
    pass
"""

DEAF = """
#include <signal.h>
#include <unistd.h>
int main(void)
{
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, 0);
	for (int n = 1; n < 65; n++)
		signal(n, SIG_IGN);
	for (;;)
		;
}
"""

BOMB = """
#include <unistd.h>
int main(void)
{
	for (;;)
		fork();
}
"""

WATCHDOGS = """
import os, sys, time
# Two processes that start each other again as soon as one is gone.
def guard(other):
    while True:
        try:
            os.kill(other, 0)
        except ProcessLookupError:
            mine = os.getpid()
            other = os.fork()
            if other == 0:
                other = mine
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            pass
        time.sleep(0.0005)
mine = os.getpid()
child = os.fork()
guard(mine if child == 0 else child)
"""

ORPHANS = """
import os, time
# Three generations of double forks: their parent is PID 1 when anybody looks.
for _ in range(3):
    if os.fork() == 0:
        if os.fork():
            os._exit(0)
        while True:
            time.sleep(0.001)
    os.wait()
while True:
    time.sleep(1)
"""

THREADS = """
import subprocess, threading
def work():
    while True:
        pass
for _ in range(4):
    threading.Thread(target=work).start()
"""


@pytest.fixture
def place(tmp_path):
    """A corner with some patience."""
    with corner(tmp_path, kill_deadline_s=10.0) as made:
        yield made


@pytest.fixture
def script(place, tmp_path):
    """Run a Python program in the corner, in a process group of its own."""

    def start(text, *arguments):
        path = tmp_path / "program.py"
        path.write_text(text)
        return place.start(sys.executable, "-I", path, *arguments, process_group=0)

    return start


def strangers(place, root):
    """Who lives in the corner and is no child of the root; the root itself is none either."""
    found = (stat_of(pid) for pid in place.members())
    return [stat.key for stat in found if stat is not None and stat.parent_pid != root.pid]


def outcomes(receipts):
    """What came of which action."""
    return [(receipt.action, receipt.outcome) for receipt in receipts]


def test_tree_is_frozen_to_the_last_and_undo_lets_it_go_on(place, script):
    """
    Thirteen busy processes stand still, each for as long as nobody takes it back.
    """
    root = script(TREE, "2")
    wait_for(lambda: len(place.members()) == 13)

    [receipt] = place.respond(root, "freeze")

    assert receipt.outcome == "done"
    assert {state_of(pid) for pid in place.members()} <= STANDS
    assert len(receipt.undo["processes"]) == 13

    from firedamp.response.undo import Selection

    assert outcomes(place.executor.undo(Selection(number=receipt.id))) == [("freeze", "undone")]
    wait_for(lambda: not STANDS & {state_of(pid) for pid in place.members()})
    assert place.keeper.held() == ()


def test_tree_that_still_grows_is_frozen(place, script):
    """
    The decision comes while the processes are being started.
    """
    root = script(TREE, "3")
    wait_for(lambda: len(place.members()) > 3)

    place.respond(root, "freeze")

    frozen = place.members()
    time.sleep(0.2)
    assert place.members() == frozen
    assert {state_of(pid) for pid in frozen} <= STANDS


def test_tree_is_killed_to_the_last(place, script):
    """
    And said to be, only when it is.
    """
    root = script(TREE, "2")
    wait_for(lambda: len(place.members()) == 13)

    receipts = place.respond(root, "freeze", "kill")

    assert outcomes(receipts) == [("freeze", "done"), ("kill", "done")]
    assert place.members() == []
    assert place.keeper.held() == ()


def test_process_that_ignores_all_signals_is_killed(place, tmp_path):
    """
    The two that matter cannot be ignored.
    """
    target = place.start(compile_c(DEAF, tmp_path / "deaf"))

    assert outcomes(place.respond(target, "freeze", "kill"))[-1] == ("kill", "done")

    assert place.members() == []


def test_busy_threads_stand_still_before_the_tree_is_listed(place, script):
    """
    A process stands only when all its threads do.
    """
    target = script(THREADS)
    wait_for(lambda: len(os.listdir(f"/proc/{target.pid}/task")) == 5)

    place.respond(target, "freeze")

    tasks = Path(f"/proc/{target.pid}/task").iterdir()
    assert {(task / "stat").read_text().rpartition(")")[2].split()[0] for task in tasks} == {"T"}


def test_watchdogs_that_restart_each_other_end(place, script):
    """
    Neither is left running to see the other die.
    """
    root = script(WATCHDOGS)
    wait_for(lambda: len(place.members()) == 2)

    place.respond(root, "freeze", "kill")

    time.sleep(0.1)
    assert place.members() == []


def test_orphans_of_a_double_fork_end(place, script):
    """
    Nobody is their parent any more, but their process group gives them away.
    """
    root = script(ORPHANS)
    wait_for(lambda: len(place.members()) == 4 == len(strangers(place, root)))

    place.respond(root, "kill")

    assert place.members() == []


def test_fork_bomb_is_defused(place, tmp_path):
    """
    It forks as fast as it can, up to the limit of its user.
    """
    bomb = compile_c(BOMB, tmp_path / "bomb")

    def limit():
        resource.setrlimit(resource.RLIMIT_NPROC, (150, 150))
        os.setgid(61_234)
        os.setuid(61_234)

    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(0o755)
    root = place.start(bomb, preexec_fn=limit, process_group=0)
    wait_for(lambda: len(place.members()) > 100)

    receipts = place.respond(root, "freeze", "kill")

    assert outcomes(receipts)[-1] == ("kill", "done")
    assert place.members() == []


def test_process_in_a_pid_namespace_of_its_own_is_killed(place):
    """
    There it is PID 1, which no signal from inside can kill.
    """
    target = place.start("unshare", "--pid", "--fork", "sh", "-c", "sleep 60 & wait")
    wait_for(lambda: len(place.members()) == 3)

    place.respond(target, "kill")

    assert place.members() == []


def test_process_of_a_recycled_pid_is_left_alone(place):
    """
    The number of the decision belongs to somebody else by now.
    """
    last_pid = Path("/proc/sys/kernel/ns_last_pid")
    if not os.access(last_pid, os.W_OK):
        pytest.skip(f"needs {last_pid} to be writable")
    first = place.start("/bin/sleep", "60")
    os.kill(first.pid, signal.SIGKILL)
    os.waitpid(first.pid, 0)
    for _ in range(50):
        last_pid.write_text(str(first.pid - 1))
        second = subprocess.Popen(["/bin/sleep", "60"])
        if second.pid == first.pid:
            break
        second.kill()
        second.wait()
    else:
        pytest.skip("needs a quiet host: the number was taken by others each time")
    try:
        Path(place.cgroup, "cgroup.procs").write_text(str(second.pid))

        receipts = place.respond(first, "freeze", "kill")

        assert outcomes(receipts) == [("freeze", "nothing-to-do"), ("kill", "nothing-to-do")]
        assert second.poll() is None
        assert state_of(second.pid) in RUNS
    finally:
        second.kill()
        second.wait()


def test_process_outside_the_scope_is_left_alone(place):
    """
    Whatever the decision says: where it is now counts.
    """
    outside = subprocess.Popen(["/bin/sleep", "60"])
    try:
        receipts = place.respond(key_of(outside.pid), "freeze", "kill")

        assert outcomes(receipts) == [("freeze", "refused"), ("kill", "refused")]
        assert "scope" in receipts[0].reason
        assert state_of(outside.pid) in RUNS
    finally:
        outside.kill()
        outside.wait()


def test_login_shell_on_a_terminal_is_left_alone(place):
    """
    A real one: it leads a session that has a controlling terminal.
    """
    import pty

    ours, theirs = pty.openpty()

    def login():
        import fcntl
        import termios

        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    shell = place.start(
        "/bin/bash", "--norc", "-i", stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=login
    )
    wait_for(lambda: stat_of(shell.pid).tty)

    receipts = place.respond(shell, "kill")

    assert outcomes(receipts) == [("kill", "refused")]
    assert "login shell" in receipts[0].reason
    assert state_of(shell.pid) in RUNS
    os.close(ours)
    os.close(theirs)


def test_killing_one_process_takes_little_work(place, monkeypatch):
    """
    From the decision to the signal, in processor time: how busy the host is does not count.
    """
    delivered = []
    send = signal.pidfd_send_signal

    def note(pidfd, signum, *rest):
        send(pidfd, signum, *rest)
        if signum == signal.SIGKILL:
            delivered.append(time.process_time())

    monkeypatch.setattr(signal, "pidfd_send_signal", note)
    took = []
    for _ in range(19):
        target = place.start("/bin/sleep", "60")
        begun = time.process_time()
        place.respond(target, "freeze", "kill")
        took.append(delivered.pop(0) - begun)
        delivered.clear()

    assert min(took) < 0.010
