# SPDX-License-Identifier: Apache-2.0
"""Blocking addresses with real packets, in two network namespaces joined by a cable."""

import os
import shutil
import socket
import subprocess
import sys
import time

import pytest

from firedamp.errors import Refused
from firedamp.response import addresses
from firedamp.response.addresses import AddressGuard, parse
from firedamp.response.nft import NftTable
from firedamp.response.undo import Selection
from firedamp.settings import Allow, Scope

from .response_corner import corner, inside, wait_for

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("network_host")]

HERE, HERE6 = "10.77.0.1", "2001:db8:77::1"
POOL, POOL6, OTHER = "10.77.0.2", "2001:db8:77::2", "10.77.0.3"
PORT = 4444
HOUR_NS = 3600 * 1_000_000_000


def run(*words):
    """Run a command that must succeed; returns what it printed."""
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return done.stdout


@pytest.fixture
def cable():
    """Two namespaces: ours, and the pool's; returns their names."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    for program in ("ip", "nft"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")
    ours, theirs = (f"fd-test-{os.getpid()}-{end}" for end in "ab")
    run("ip", "netns", "add", ours)
    run("ip", "netns", "add", theirs)
    try:
        peer = ("peer", "name", "fd1", "netns", theirs)
        run("ip", "link", "add", "fd0", "netns", ours, "type", "veth", *peer)
        for name, device, own in (
            (ours, "fd0", (f"{HERE}/24", f"{HERE6}/64")),
            (theirs, "fd1", (f"{POOL}/24", f"{OTHER}/24", f"{POOL6}/64")),
        ):
            for address in own:
                nodad = ("nodad",) if ":" in address else ()
                run("ip", "-n", name, "addr", "add", address, "dev", device, *nodad)
            for up in (device, "lo"):
                run("ip", "-n", name, "link", "set", up, "up")
        yield ours, theirs
    finally:
        run("ip", "netns", "del", ours)
        run("ip", "netns", "del", theirs)


class Pool:
    """Counts the datagrams that reach each of its addresses."""

    def __init__(self, namespace):
        self._sockets = {}
        with inside(namespace):
            for address in (POOL, OTHER, POOL6):
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                self._sockets[address] = socket.socket(family, socket.SOCK_DGRAM)
                self._sockets[address].bind((address, PORT))
                self._sockets[address].settimeout(0.3)

    def hears(self, address):
        """A datagram came within some tenths of a second."""
        try:
            return self._sockets[address].recv(16) == b"login"
        except TimeoutError:
            return False

    def close(self):
        for one in self._sockets.values():
            one.close()


@pytest.fixture
def pool(cable):
    """The other end."""
    made = Pool(cable[1])
    yield made
    made.close()


@pytest.fixture
def says(cable, pool):
    """Send a datagram to an address; True when it arrives."""

    def send(address):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with inside(cable[0]), socket.socket(family, socket.SOCK_DGRAM) as miner:
            try:
                miner.sendto(b"login", (address, PORT))
            except PermissionError:
                return False
        return pool.hears(address)

    return send


@pytest.fixture
def table(cable):
    """Our table, in our namespace."""
    return In(cable[0], NftTable(Scope()))


class In:
    """Calls an object's methods inside a network namespace."""

    def __init__(self, namespace, target):
        self._namespace = namespace
        self._target = target

    def __getattr__(self, name):
        method = getattr(self._target, name)

        def call(*arguments, **options):
            with inside(self._namespace):
                return method(*arguments, **options)

        return call


def later(ns=HOUR_NS):
    """A wall-clock time that is still to come."""
    return time.time_ns() + ns


def ruleset(namespace):
    """What nft shows."""
    return run("ip", "netns", "exec", namespace, "nft", "list", "ruleset")


def test_blocked_address_hears_nothing_any_more(table, says, cable):
    """
    Not a packet, over IPv4 and IPv6, also on a table that is already there; others still do.
    """
    wait_for(lambda: says(POOL) and says(POOL6))

    table.block(parse(POOL), later())
    table.block(parse(POOL6), later())

    assert not any(says(POOL) or says(POOL6) for _ in range(3))
    assert says(OTHER)
    assert "packets 3" in ruleset(cable[0])


def test_answers_of_a_blocked_address_are_not_heard_either(table, pool, cable):
    """
    What it sends by itself is stopped on the way in.
    """
    with inside(cable[0]):
        ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        ear.bind((HERE, PORT))
        ear.settimeout(0.3)

    def heard(source):
        with inside(cable[1]), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth:
            mouth.bind((source, 0))
            mouth.sendto(b"job", (HERE, PORT))
        try:
            return ear.recv(16) == b"job"
        except TimeoutError:
            return False

    assert heard(POOL)
    table.block(parse(POOL), later())

    assert not heard(POOL)
    assert heard(OTHER)
    ear.close()


def test_open_connection_is_cut_off(table, cable):
    """
    The miner that is connected already says nothing more.
    """
    with inside(cable[1]):
        listener = socket.create_server((POOL, 3333))
    with inside(cable[0]):
        miner = socket.create_connection((POOL, 3333))
    ours, _ = listener.accept()
    ours.settimeout(0.5)
    miner.sendall(b"login")
    assert ours.recv(16) == b"login"

    table.block(parse(POOL), later())

    miner.sendall(b"share")
    with pytest.raises(TimeoutError):
        ours.recv(16)
    for one in (listener, miner, ours):
        one.close()


def test_forwarded_packets_are_stopped(table, cable, pool):
    """
    A container's packets go through the host, not out of it.
    """
    inner = f"fd-test-{os.getpid()}-c"
    run("ip", "netns", "add", inner)
    try:
        peer = ("peer", "name", "fd3", "netns", inner)
        run("ip", "link", "add", "fd2", "netns", cable[0], "type", "veth", *peer)
        run("ip", "-n", cable[0], "addr", "add", "10.78.0.1/24", "dev", "fd2")
        run("ip", "-n", inner, "addr", "add", "10.78.0.2/24", "dev", "fd3")
        for name, device in ((cable[0], "fd2"), (inner, "fd3")):
            run("ip", "-n", name, "link", "set", device, "up")
        run("ip", "-n", inner, "route", "add", "default", "via", "10.78.0.1")
        run("ip", "-n", cable[1], "route", "add", "10.78.0.0/24", "via", HERE)
        run("ip", "netns", "exec", cable[0], "sysctl", "-q", "net.ipv4.ip_forward=1")

        def says(address):
            with inside(inner), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as miner:
                miner.sendto(b"login", (address, PORT))
            return pool.hears(address)

        assert says(POOL)
        table.block(parse(POOL), later())

        assert not says(POOL)
        assert says(OTHER)
    finally:
        run("ip", "netns", "del", inner)


def test_block_runs_out_by_itself(table, says):
    """
    Nobody has to be there for that.
    """
    table.build()
    table.block(parse(POOL), later(700_000_000))
    assert not says(POOL)

    time.sleep(0.7)

    assert says(POOL)


def test_blocking_again_counts_the_time_anew(table, says):
    """
    On every kernel.
    """
    table.build()
    table.block(parse(POOL), later(500_000_000))
    table.block(parse(POOL), later())
    time.sleep(0.6)

    assert not says(POOL)


def test_unblocked_address_hears_again(table, says):
    """
    At once, and taking it back twice does no harm.
    """
    table.block(parse(POOL), later())
    assert not says(POOL)

    table.unblock(parse(POOL))
    table.unblock(parse(POOL))

    assert says(POOL)


def test_flushed_table_comes_back_with_the_next_block(table, says, cable):
    """
    With everything that was blocked.
    """
    table.block(parse(POOL), later())
    run("ip", "netns", "exec", cable[0], "nft", "flush", "ruleset")
    assert says(POOL)

    table.block(parse(POOL6), later())

    assert not says(POOL)
    assert not says(POOL6)


def test_nothing_of_anyone_elses_is_touched(table, cable):
    """
    Whatever is done to our table, and when it goes.
    """
    nft = ("ip", "netns", "exec", cable[0], "nft")
    run(*nft, "add table inet other")
    run(*nft, "add chain inet other in { type filter hook input priority 0 ; }")
    run(*nft, "add rule inet other in tcp dport 22 accept")
    before = ruleset(cable[0])

    table.build()
    table.block(parse(POOL), later())
    table.restore({parse(POOL6): later()})
    assert "table inet firedamp" in ruleset(cable[0])
    table.remove()
    table.remove()

    assert ruleset(cable[0]) == before


def test_scope_limits_the_block_to_its_cgroup(tmp_path, cable, pool):
    """
    Only sockets made in there are cut off; the rest of the host goes on.
    """
    with corner(tmp_path) as place:
        scoped = In(cable[0], NftTable(place.settings.scope))
        scoped.block(parse(POOL), later())
        talk = (
            "import socket, sys, time\n"
            "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
            "while True:\n"
            f"    try: s.sendto(b'login', (sys.argv[1], {PORT}))\n"
            "    except PermissionError: pass\n"
            "    time.sleep(0.05)\n"
        )
        program = ("ip", "netns", "exec", cable[0], sys.executable, "-I", "-c", talk)
        place.start(*program, OTHER)
        wait_for(lambda: pool.hears(OTHER))
        place.start(*program, POOL)

        assert not any(pool.hears(POOL) for _ in range(3))

        outside = subprocess.Popen([*program, POOL])
        wait_for(lambda: pool.hears(POOL))
        outside.kill()
        outside.wait()


def test_scope_limits_the_block_to_its_users(cable, pool):
    """
    By the user that the socket belongs to.
    """
    In(cable[0], NftTable(Scope(users=("61234",)))).block(parse(POOL), later())

    def says(user):
        talk = (
            "import socket\n"
            "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
            f"s.sendto(b'login', ('{POOL}', {PORT}))\n"
        )

        def enter():
            os.setuid(user)

        with inside(cable[0]):
            subprocess.run(
                ["/usr/bin/python3", "-I", "-c", talk],
                preexec_fn=enter,
                stderr=subprocess.DEVNULL,
                check=False,
            )
        return pool.hears(POOL)

    assert not says(61_234)
    assert says(61_235)


def test_host_protects_its_own_addresses(cable):
    """
    As the kernel of that namespace tells them: its own, and the gateway of any table.
    """
    run("ip", "-n", cable[0], "route", "add", "default", "via", OTHER)
    run("ip", "-n", cable[0], "route", "add", "192.0.2.0/24", "via", POOL, "table", "77")
    guard = In(cable[0], AddressGuard(Allow()))

    for address in (HERE, HERE6, OTHER, POOL):
        with pytest.raises(Refused):
            guard.check(address)

    assert str(guard.check("192.0.2.9")) == "192.0.2.9"
    with inside(cable[0]):
        assert parse(POOL) in addresses.gateways()


def test_restart_and_undo_of_a_block(tmp_path, cable, says, monkeypatch):
    """
    Blocked by a decision, blocked again after a restart that lost the table, taken back.
    """
    monkeypatch.setattr(addresses, "resolvers", frozenset)

    with corner(tmp_path) as place, inside(cable[0]):
        everywhere = NftTable(Scope())
        place.executor._actions["block"]._nft = everywhere  # noqa: SLF001 - the whole namespace
        target = place.start("/bin/sleep", "60")
        [done] = place.respond(target, "block", addresses=(POOL,))
        assert done.outcome == "done"
        assert not says(POOL)

        everywhere.remove()
        assert says(POOL)
        place.executor.restore()
        assert not says(POOL)

        [undone] = place.executor.undo(Selection(number=done.id))
        assert undone.outcome == "undone"
        assert says(POOL)
