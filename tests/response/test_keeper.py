# SPDX-License-Identifier: Apache-2.0
"""The keeper for real: its promise is about processes that die, so pretending proves nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from firedamp.response.keeper import Keeper
from firedamp.response.keeper_process import MOST_KEYS
from firedamp.response.system_host import SystemHost, parse_stat

WAIT_S = 5.0


def key_of(pid):
    """Name a process."""
    return parse_stat(pid, Path(f"/proc/{pid}/stat").read_bytes()).key


def state_of(pid):
    """The letter that /proc shows."""
    return parse_stat(pid, Path(f"/proc/{pid}/stat").read_bytes()).state


def wait_for(condition):
    """Wait until it is so, or fail."""
    until = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def keeper():
    """A keeper that runs."""
    running = Keeper()
    running.start()
    wait_for(lambda: descriptors(running.pid) == 4)  # it has come to its loop
    yield running
    running.stop()


@pytest.fixture
def sleeper():
    """A process that has nothing to do."""
    process = subprocess.Popen(["/bin/sleep", "60"])
    yield process.pid
    process.kill()
    process.wait()


@pytest.fixture
def frozen(keeper, sleeper):
    """A process that is stopped and in the keeper's care."""
    freeze(keeper, sleeper)
    return sleeper


def freeze(keeper, pid):
    """Stop a process the way it must be done."""
    key = key_of(pid)
    pidfd = os.pidfd_open(pid)
    keeper.hold({key: pidfd})
    os.close(pidfd)
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: state_of(pid) == "T")
    return key


def descriptors(pid):
    """How many a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_end_of_the_daemon_continues_what_was_frozen(keeper, frozen):
    """
    The channel closes, whatever the reason: the process runs again.
    """
    keeper.stop()

    wait_for(lambda: state_of(frozen) == "S")


def test_forgotten_process_is_left_as_it_is(keeper, frozen):
    """
    Whoever was continued and stopped again by somebody else is nobody's business.
    """
    keeper.forget([key_of(frozen)])

    keeper.stop()

    time.sleep(0.1)
    assert state_of(frozen) == "T"
    os.kill(frozen, signal.SIGCONT)


def test_keeper_ends_with_its_daemon(keeper):
    """
    It does not stay behind, and is no zombie: stop() has seen it end.
    """
    pid = keeper.pid

    keeper.stop()

    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize(
    "signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGPIPE]
)
def test_signals_do_not_end_it(keeper, frozen, signum):
    """
    Those that reach a whole group or service are not meant for it.
    """
    os.kill(keeper.pid, signum)
    time.sleep(0.05)

    assert not keeper.check()
    keeper.stop()
    wait_for(lambda: state_of(frozen) == "S")


def test_dead_keeper_is_replaced_and_knows_everybody(keeper, frozen):
    """
    What the first held, the second holds.
    """
    first = keeper.pid
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: state_of(first) == "Z")

    assert keeper.check()

    assert keeper.pid != first
    keeper.stop()
    wait_for(lambda: state_of(frozen) == "S")


def test_keeper_that_died_unnoticed_is_replaced_by_the_next_hold(keeper, frozen, tmp_path):
    """
    Nobody is stopped in the care of a dead keeper.
    """
    os.kill(keeper.pid, signal.SIGKILL)
    wait_for(lambda: state_of(keeper.pid) == "Z")
    second = subprocess.Popen(["/bin/sleep", "60"])
    try:
        freeze(keeper, second.pid)

        keeper.stop()

        wait_for(lambda: state_of(second.pid) == "S" and state_of(frozen) == "S")
    finally:
        second.kill()
        second.wait()


def test_descriptors_do_not_pile_up(keeper):
    """
    Of those that ended while they were frozen, on either side.
    """
    ours, theirs = descriptors(os.getpid()), descriptors(keeper.pid)
    for _ in range(5):
        process = subprocess.Popen(["/bin/sleep", "60"])
        freeze(keeper, process.pid)
        process.kill()
        process.wait()
    assert descriptors(os.getpid()) == ours + 5

    keeper.forget_dead()

    assert keeper.held() == ()
    assert descriptors(os.getpid()) == ours
    wait_for(lambda: descriptors(keeper.pid) == theirs)


def test_more_than_one_message_holds_are_handed_over(keeper, sleeper):
    """
    The kernel passes a bounded number of descriptors at a time.
    """
    pidfd = os.pidfd_open(sleeper)
    many = {key_of(sleeper)._replace(started_ticks=n): pidfd for n in range(3 * MOST_KEYS)}
    before = descriptors(keeper.pid)

    keeper.hold(many)

    wait_for(lambda: descriptors(keeper.pid) == before + 3 * MOST_KEYS)
    keeper.forget(many)
    wait_for(lambda: descriptors(keeper.pid) == before)
    os.close(pidfd)


def test_keeper_is_small(keeper):
    """
    It stays for as long as the daemon does.
    """
    rollup = Path(f"/proc/{keeper.pid}/smaps_rollup").read_text()
    [pss_kib] = [int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")]

    assert pss_kib < 8 * 1024


def test_nothing_leaks_into_it(keeper):
    """
    A descriptor that can be inherited, such as a probe's link, must not outlive the daemon.
    """
    leak = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(leak, True)
    other = Keeper()
    try:
        other.start()
        wait_for(lambda: descriptors(other.pid) == 4)
    finally:
        other.stop()
        os.close(leak)


DAEMON = """
import os, signal, sys
from firedamp.response.keeper import Keeper
from firedamp.response.members import Members
from firedamp.response.system_host import SystemHost, parse_stat
pid = int(sys.argv[1])
host, keeper = SystemHost(), Keeper()
keeper.start()
members = Members(host, lambda key: None, keeper)
members.admit(parse_stat(pid, open(f"/proc/{pid}/stat", "rb").read()).key)
members.freeze(1.0)
print("frozen", flush=True)
signal.pause()
"""


def test_sigkilled_daemon_leaves_nobody_frozen(sleeper):
    """
    The reason for all of this: no handler runs, and the process goes on all the same.
    """
    daemon = subprocess.Popen(
        [sys.executable, "-I", "-c", DAEMON, str(sleeper)], stdout=subprocess.PIPE
    )
    try:
        assert daemon.stdout.readline() == b"frozen\n"
        assert state_of(sleeper) == "T"

        daemon.kill()

        wait_for(lambda: state_of(sleeper) == "S")
    finally:
        daemon.kill()
        daemon.wait()
        daemon.stdout.close()


def test_host_pins_exactly_the_process_that_was_seen(sleeper):
    """
    Another start time is another process, whatever the number.
    """
    from firedamp.errors import ActionError

    host = SystemHost()
    key = key_of(sleeper)

    with pytest.raises(ActionError, match="another process"):
        host.pin(key._replace(started_ticks=key.started_ticks - 1))

    host.pin(key)
    host.release([key])
    with pytest.raises(ActionError, match="not pinned"):
        host.send_signal(key, signal.SIGSTOP)


def test_zombie_is_not_pinned():
    """
    It has a number still, but nothing that could be acted on.
    """
    from firedamp.errors import ActionError

    process = subprocess.Popen(["/bin/true"])
    wait_for(lambda: state_of(process.pid) == "Z")

    with pytest.raises(ActionError, match="ended"):
        SystemHost().pin(key_of(process.pid))
    process.wait()
