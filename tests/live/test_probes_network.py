# SPDX-License-Identifier: Apache-2.0
"""What the kernel's network probes tell and refuse, with real sockets on loopback."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from firedamp.cgroups import cgroup2_mount
from firedamp.events.model import ConnectionFound, ConnectionOpened, DnsMessageSeen, PayloadSeen
from firedamp.paths import probes_dir
from firedamp.sources.bpf.source import BpfSource
from firedamp.sources.bpf.spawn import run_loader

from .conftest import Probes, key_of, load

pytestmark = pytest.mark.live

LOGIN = b'{"id":1,"jsonrpc":"2.0","method":"login","params":{"login":"4","pass":"x"}}\n'
SO_COOKIE = 57


def cookie_of(sock: socket.socket) -> int:
    """The kernel's own name for a socket."""
    return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8), sys.byteorder)


@pytest.fixture
def pair():
    """A listening socket, and a client and a server that talk through it."""
    made = []

    def make(family=socket.AF_INET, host="127.0.0.1"):
        listener = socket.socket(family)
        listener.bind((host, 0))
        listener.listen()
        client = socket.socket(family)
        client.connect(listener.getsockname()[:2])
        server, _ = listener.accept()
        made.extend([listener, client, server])
        return client, server, listener.getsockname()[1]

    yield make
    for sock in made:
        sock.close()


@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_connect_is_told_with_its_owner(probes, pair, family, host):
    """Address, port, socket and process, for IPv4 and IPv6."""
    client, _, port = pair(family, host)

    event = probes.until(lambda e: isinstance(e, ConnectionOpened) and e.port == port)

    assert event.process == key_of(os.getpid())
    assert (event.address, event.transport, event.denied) == (host, "tcp", False)
    assert event.cookie == cookie_of(client)
    assert event.uid == os.getuid()


def test_mapped_address_is_told_as_ipv4(probes):
    """An IPv6 socket that connects to ::ffff:127.0.0.1 connects to 127.0.0.1."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_INET6) as client,
    ):
        port = server.getsockname()[1]
        client.connect(("::ffff:127.0.0.1", port))

        event = probes.until(lambda e: isinstance(e, ConnectionOpened) and e.port == port)

    assert event.address == "127.0.0.1"


def test_same_address_is_told_once_a_second_and_every_socket_has_its_owner(probes, pair):
    """A thousand connects to one back end are one event; the words on the last are still heard."""
    *_, port = pair()
    for _ in range(1000):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.connect(("127.0.0.1", port))
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(LOGIN)
    said = probes.until(lambda e: isinstance(e, PayloadSeen) and e.cookie == cookie_of(client))
    told = [e for e in probes.seen if isinstance(e, ConnectionOpened) and e.port == port]
    client.close()
    time.sleep(1.1)
    socket.create_connection(("127.0.0.1", port)).close()
    probes.until(
        lambda e: isinstance(e, ConnectionOpened) and e.port == port and e.at_ns > told[-1].at_ns
    )

    assert said.process == key_of(os.getpid())
    assert [event.transport for event in told] == ["tcp", "udp"]


def test_unconnected_datagrams_are_told_once_an_address(probes):
    """sendto() without connect() is seen; the hundredth datagram is no news."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(100):
                sender.sendto(b"x", sink.getsockname())
    event = probes.until(lambda e: isinstance(e, ConnectionOpened) and e.transport == "udp")
    probes.collect()

    same = [e for e in probes.seen if isinstance(e, ConnectionOpened) and e.port == event.port]

    assert len(same) == 1
    assert event.address == "127.0.0.1"


def test_first_words_are_told_both_ways(probes, pair):
    """What begins like JSON is copied, with who said it, and what was answered."""
    client, server, port = pair()
    client.sendall(LOGIN)
    server.recv(4096)
    server.sendall(b'{"id":1,"result":{"job":{}}}\n')

    said = probes.until(lambda e: isinstance(e, PayloadSeen) and e.direction == "out")
    heard = probes.until(lambda e: isinstance(e, PayloadSeen) and e.direction == "in")

    assert (said.data, said.length) == (LOGIN, len(LOGIN))
    assert said.process == heard.process == key_of(os.getpid())
    assert said.cookie == heard.cookie == cookie_of(client)
    assert (said.address, said.port, heard.port) == ("127.0.0.1", port, port)
    assert heard.data == b'{"id":1,"result":{"job":{}}}\n'


@pytest.mark.parametrize("lead", [b" ", b"\r\n", b"\t  \n "])
def test_white_space_before_the_words_hides_nothing(probes, pair, lead):
    """JSON may begin with white space, and then begins just the same."""
    client, *_ = pair()
    client.sendall(lead + LOGIN)

    said = probes.until(lambda e: isinstance(e, PayloadSeen))

    assert said.data == lead + LOGIN


def test_words_split_over_segments_are_all_told(probes, pair):
    """One byte at a time, the first segments still arrive, in their order."""
    client, server, _ = pair()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for at in range(8):
        client.sendall(LOGIN[at : at + 1])
        server.recv(1)
    client.sendall(LOGIN[8:])
    probes.until(lambda e: isinstance(e, PayloadSeen) and e.data == LOGIN[8:])

    said = [e for e in probes.seen if isinstance(e, PayloadSeen)]

    assert b"".join(e.data for e in sorted(said, key=lambda e: e.sequence)) == LOGIN


def test_large_segment_is_cut_and_its_length_told(probes, pair):
    """A kilobyte is kept of a larger one."""
    client, server, _ = pair()
    client.sendall(b"{" + b"x" * 5000)
    server.recv(8192)

    said = probes.until(lambda e: isinstance(e, PayloadSeen))

    assert len(said.data) == 1024
    assert said.length > 1024


def test_other_protocols_are_not_copied(probes, pair):
    """What begins like nothing we parse is left alone, whatever it says later on."""
    client, server, _ = pair()
    for words in (*[b"SSH-2.0-OpenSSH_9.2\r\n"] * 4, LOGIN):
        client.sendall(words)
        server.recv(4096)
    other, *_ = pair()
    other.sendall(LOGIN)
    probes.until(lambda e: isinstance(e, PayloadSeen) and e.cookie == cookie_of(other))

    assert all(e.cookie != cookie_of(client) for e in probes.seen if isinstance(e, PayloadSeen))


def test_dns_question_and_answer_are_told(probes):
    """Datagrams to and from port 53, with the process that asked."""
    question = bytes.fromhex("1234 0100 0001 0000 0000 0000") + b"\4pool\7example\0\0\1\0\1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as resolver:
        try:
            resolver.bind(("127.0.0.66", 53))
        except OSError as error:
            pytest.skip(f"needs port 53 of 127.0.0.66: {error}")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.sendto(question, ("127.0.0.66", 53))
            _, address = resolver.recvfrom(512)
            resolver.sendto(question[:2] + b"\x81" + question[3:], address)
            asker.recv(512)

    asked = probes.until(lambda e: isinstance(e, DnsMessageSeen) and e.direction == "out")
    heard = probes.until(lambda e: isinstance(e, DnsMessageSeen) and e.direction == "in")

    assert asked.data == question
    assert (asked.address, asked.port) == ("127.0.0.66", 53)
    assert asked.process == heard.process == key_of(os.getpid())
    assert heard.data[2] == 0x81


def test_connection_from_before_is_heard_once_adopted(loaded, bpf_host):
    """A connection that stood before the probes has an owner once the daemon says so."""
    listener = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listener.getsockname())
    source = load()
    try:
        source.adopt(
            [
                ConnectionFound(
                    at_ns=0,
                    process=key_of(os.getpid()),
                    cookie=cookie_of(client),
                    transport="tcp",
                    address="127.0.0.1",
                    port=listener.getsockname()[1],
                    uid=0,
                    denied=False,
                )
            ]
        )
        client.sendall(LOGIN)
        probes = Probes(source)

        said = probes.until(lambda e: isinstance(e, PayloadSeen))

        assert said.process == key_of(os.getpid())
    finally:
        source.close()
        client.close()
        listener.close()


def test_burst_of_connects_is_told_whole(probes):
    """20,000 connects as fast as they go: told plus lost is all of them, and none is lost."""
    code = (
        "import socket\n"
        "for n in range(20000):\n"
        "    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "    s.connect(('127.0.0.1', 1 + n)); s.close()\n"
    )
    child = subprocess.Popen([sys.executable, "-I", "-S", "-c", code])
    while child.poll() is None:
        probes.collect()
        time.sleep(0.05)
    probes.collect()

    mine = [
        e for e in probes.seen if isinstance(e, ConnectionOpened) and e.process.pid == child.pid
    ]

    assert len({e.port for e in mine}) == 20_000
    assert probes.source.losses(0) == []


@pytest.fixture
def own_cgroup():
    """A cgroup of the test's own."""
    path = Path(cgroup2_mount()) / f"firedamp-test-{os.getpid()}"
    path.mkdir()
    yield path
    deadline = time.monotonic() + 5
    while (path / "cgroup.procs").read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    path.rmdir()


CONNECT_IN = """
import os, socket, sys
open(sys.argv[1] + "/cgroup.procs", "w").write("0")
family = socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET
s = socket.socket(family)
s.settimeout(2)
try:
    s.connect((sys.argv[2], int(sys.argv[3])))
    print("connected")
except OSError as error:
    print(error.errno)
"""


def connect_in(cgroup: Path, host: str, port: int) -> str:
    """How a connect fares that a process in the cgroup makes."""
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", CONNECT_IN, str(cgroup), host, str(port)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_denied_address_is_refused_in_scope_alone(bpf_host, own_cgroup, host):
    """EPERM inside the cgroup in scope, for that port alone and until its time; told at once."""
    family = socket.AF_INET if host == "127.0.0.1" else socket.AF_INET6
    bound = "::" if host.startswith("::f") else host
    with socket.create_server((bound, 0), family=family, dualstack_ipv6=bound == "::") as server:
        port = server.getsockname()[1]
        source = BpfSource(
            run_loader(
                probes=probes_dir(),
                cgroup_root=cgroup2_mount(),
                deny_cgroups=[str(own_cgroup)],
                cpu_hz=49,
                scope_uids=False,
            )
        )
        try:
            probes = Probes(source)
            plain = "127.0.0.1" if host.startswith("::f") else host
            before = connect_in(own_cgroup, host, port)
            source.deny_map.deny(plain, port, time.clock_gettime_ns(time.CLOCK_BOOTTIME) + 10**12)
            inside = connect_in(own_cgroup, host, port)
            outside = connect_in(own_cgroup.parent, host, port)
            event = probes.until(lambda e: isinstance(e, ConnectionOpened) and e.denied)
            source.deny_map.deny(plain, port, 1)
            expired = connect_in(own_cgroup, host, port)
            source.deny_map.deny(plain, None, time.clock_gettime_ns(time.CLOCK_BOOTTIME) + 10**12)
            any_port = connect_in(own_cgroup, host, port)
            source.deny_map.deny(plain, None, 1)
            any_port_expired = connect_in(own_cgroup, host, port)
            source.deny_map.deny(plain, None, time.clock_gettime_ns(time.CLOCK_BOOTTIME) + 10**12)
            source.deny_map.allow(plain, None)
            allowed = connect_in(own_cgroup, host, port)
        finally:
            source.close()

    assert (before, inside, outside) == ("connected", "1", "connected")
    assert (event.address, event.port) == (plain, port)
    assert (expired, any_port) == ("connected", "1")
    assert (any_port_expired, allowed) == ("connected", "connected")


def test_shallower_connect_hook_tells_the_same(bpf_host, pair):
    """Where there is no cgroup v2, the TCP state's change tells of the connect."""
    source = load({"connect": "raw tracepoint inet_sock_set_state"})
    try:
        probes = Probes(source)
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            _, _, port = pair(family, host)

            event = probes.until(
                lambda e, port=port: isinstance(e, ConnectionOpened) and e.port == port
            )

            assert event.process == key_of(os.getpid())
            assert (event.address, event.transport) == (host, "tcp")
    finally:
        source.close()


def test_nothing_stays_attached_when_the_holder_is_killed(bpf_host, own_cgroup):
    """After SIGKILL of whoever holds the probes, a connect that was denied goes through."""
    holder = (
        "import sys, time\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from firedamp.sources.bpf.source import BpfSource\n"
        "from firedamp.sources.bpf.spawn import run_loader\n"
        "s = BpfSource(run_loader(probes=Path(sys.argv[2]), cgroup_root=sys.argv[3],\n"
        "    deny_cgroups=[sys.argv[4]], cpu_hz=49, scope_uids=False))\n"
        "s.deny_map.deny('127.0.0.1', int(sys.argv[5]), 1 << 62)\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        daemon = Path(__file__).parents[2] / "daemon"
        arguments = (daemon, probes_dir(), cgroup2_mount(), own_cgroup, port)
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", holder, *map(str, arguments)],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert child.stdout.readline() == "ready\n"
            denied = connect_in(own_cgroup, "127.0.0.1", port)
        finally:
            child.kill()
            child.communicate()
        deadline = time.monotonic() + 5
        while (after := connect_in(own_cgroup, "127.0.0.1", port)) != "connected":
            assert time.monotonic() < deadline

    assert (denied, after) == ("1", "connected")
