# SPDX-License-Identifier: Apache-2.0
"""Mining protocols: what is recognised, from which pieces, in how much memory."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firedamp.analysis.stratum import MiningProtocols
from firedamp.context.host import HostContext
from firedamp.context.process import Observed, Process
from firedamp.events.model import PayloadSeen, ProcessKey

WALLET = "4" + "8" * 94
BLOB = "0e0e" + "ab" * 74

LOGIN = (
    b'{"id":1,"jsonrpc":"2.0","method":"login","params":{"login":"%s","pass":"x",'
    b'"agent":"XMRig/6.21.0 (Linux x86_64)","algo":["rx/0","cn/r"]}}\n' % WALLET.encode()
)
SUBMIT = (
    b'{"id":2,"method":"submit","params":{"id":"1","job_id":"j","nonce":"01020304","result":"%s"}}\n'
    % (b"ab" * 32)
)
DAEMON_MODE = (
    b"POST /json_rpc HTTP/1.1\r\nHost: n\r\nUser-Agent: XMRig/6\r\nContent-Length: 9\r\n\r\n"
    b'{"id":1,"method":"getblocktemplate","params":{"wallet_address":"4A","reserve_size":8}}'
)
LANGUAGE_SERVER = (
    b'Content-Length: 90\r\n\r\n{"jsonrpc":"2.0","id":1,"method":"initialize",'
    b'"params":{"processId":1,"rootUri":null}}'
)


def line(**message: object) -> bytes:
    """Make a message as clients of any protocol send it: one a line."""
    return json.dumps(message).encode() + b"\n"


@pytest.fixture
def analyser():
    """An analyser that has heard nothing yet."""
    return MiningProtocols()


CLIENT_LINES = [
    (LOGIN, "stratum-monero", "login"),
    (b'{"method":"login","params":{"login":"rig1","pass":"x","rigid":"","agent":"a"},"id":1}\n',
     "stratum-monero", "login"),
    (line(method="login", params={"login": "x", "pass": "x", "agent": "xmr-stak/2.10"}),
     "stratum-monero", "login"),
    (line(method="login", params={"login": f"XMR:{WALLET}.rig#abc", "pass": "x"}),
     "stratum-monero", "login"),
    (line(params={"algo": ["cn/r"], "login": "x"}, method="login"), "stratum-monero", "login"),
    (SUBMIT, "stratum-monero", "submit"),
    (line(id=1, method="keepalived", params={"id": "8a"}), "stratum-monero", "keepalived"),
    (line(id=1, method="mining.subscribe", params=["cpuminer/2.5.1"]),
     "stratum-v1", "mining.subscribe"),
    (line(id=1, method="mining.subscribe", params=[]), "stratum-v1", "mining.subscribe"),
    (line(id=2, method="mining.authorize", params=["bob.rig", "x"]),
     "stratum-v1", "mining.authorize"),
    (line(id=3, method="mining.configure", params=[["version-rolling"], {}]),
     "stratum-v1", "mining.configure"),
    (line(id=4, method="mining.submit", params=["bob", "bf", "01", "50", "b2"]),
     "stratum-v1", "mining.submit"),
    (line(id=1, method="mining.subscribe", params=["m/1", "EthereumStratum/1.0.0"]),
     "stratum-eth", "mining.subscribe"),
    (line(id=0, method="mining.hello", params={"agent": "e/1", "host": "p", "port": "80"}),
     "stratum-eth", "mining.hello"),
    (line(id=1, worker="rig", method="eth_submitLogin", params=["0x" + "a" * 40]),
     "stratum-eth", "eth_submitLogin"),
    (line(id=2, method="eth_getWork", params=[]), "stratum-eth", "eth_getWork"),
    (line(id=4, method="eth_submitWork", params=["0x1", "0x2", "0x3"]),
     "stratum-eth", "eth_submitWork"),
    (line(id=6, method="eth_submitHashrate", params=["0x5", "0x6"]),
     "stratum-eth", "eth_submitHashrate"),
    (DAEMON_MODE,
     "getblocktemplate", "getblocktemplate"),
    (line(method="submitblock", params=["0707"]), "getblocktemplate", "submitblock"),
]  # fmt: skip

SERVER_LINES = [
    (line(id=1, result={"id": "8", "job": {"blob": BLOB, "job_id": "1", "target": "b88d0600"}}),
     "stratum-monero", "result"),
    (line(method="job", params={"blob": BLOB, "job_id": "2", "target": "b88d0600"}),
     "stratum-monero", "job"),
    (line(id=None, method="mining.notify", params=["bf", "4d", "01", "07", [], "2", "1c", "50"]),
     "stratum-v1", "mining.notify"),
    (line(id=None, method="mining.set_difficulty", params=[512]),
     "stratum-v1", "mining.set_difficulty"),
    (line(id=1, result=[[["mining.notify", "ae68"]], "08000002", 4]), "stratum-v1", "result"),
    (line(id=1, result=[["mining.notify", "ae", "EthereumStratum/1.0.0"], "080c"]),
     "stratum-eth", "result"),
    (line(result={"blocktemplate_blob": BLOB, "difficulty": 1}), "getblocktemplate", "result"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "protocol", "method"), CLIENT_LINES)
def test_each_thing_a_miner_says_is_recognised(analyser, say, data, protocol, method):
    """
    Every dialect's client side, in the spelling of its clients.
    """
    [spoken] = say(analyser, data)

    assert (spoken.protocol, spoken.method, spoken.direction) == (protocol, method, "out")


@pytest.mark.parametrize(("data", "protocol", "method"), SERVER_LINES)
def test_each_thing_a_pool_says_is_recognised_alone(analyser, say, data, protocol, method):
    """
    The client's words may have been said before anyone listened.
    """
    [spoken] = say(analyser, data, direction="in")

    assert (spoken.protocol, spoken.method, spoken.direction) == (protocol, method, "in")


def test_login_names_wallet_agent_and_algorithms(analyser, say):
    """
    What an alert needs in order to be checked by a person.
    """
    [spoken] = say(analyser, LOGIN)

    assert spoken.login == WALLET
    assert spoken.agent.startswith("XMRig/6.21.0")
    assert spoken.algorithms == ("rx/0", "cn/r")
    assert (spoken.address, spoken.port, spoken.cookie) == ("203.0.113.7", 3333, 7)


def test_later_messages_carry_the_login(analyser, say):
    """
    A share alone says nothing of whom it is for; the connection does.
    """
    _, share = say(analyser, LOGIN, SUBMIT)

    assert (share.method, share.login) == ("submit", WALLET)


def test_http_user_agent_is_the_agent(analyser, say):
    """
    In daemon mode the miner names itself in a header.
    """
    [spoken] = say(analyser, DAEMON_MODE)

    assert (spoken.agent, spoken.login) == ("XMRig/6", "4A")


def test_ethereum_work_is_recognised_where_it_was_asked_for(analyser, say, observed, payload):
    """
    Three hashes are work for a miner, and the answer to a log filter for anyone else.
    """
    work = line(id=2, result=["0x" + "ab" * 32] * 3)

    assert say(analyser, work, direction="in", cookie=8) == []
    say(analyser, line(id=2, method="eth_getWork", params=[]))
    [spoken] = analyser.feed(observed(payload(work, direction="in")))

    assert (spoken.protocol, spoken.method) == ("stratum-eth", "result")


OTHER_PROTOCOLS = [
    line(jsonrpc="2.0", id=1, method="auth.login", params={"login": "bob", "password": "x"}),
    line(jsonrpc="2.0", id=1, method="login", params={"username": "bob", "password": "x"}),
    line(jsonrpc="2.0", id=1, method="login", params=["bob", "secret"]),
    line(method="job", params={"name": "backup", "target": "/srv"}),
    line(method="job", params={"blob": "backup.tar", "job_id": "12"}),
    line(method="submit", params={"job_id": "12", "result": "ok", "nonce": "deadbeef"}),
    line(method="submit", params=["form"]),
    line(method="keepalived", params=["eth0"]),
    line(id=0, method="server.version", params=["electrum/4.5", "1.4"]),
    line(id=1, method="blockchain.scripthash.subscribe", params=["ab" * 32]),
    line(id=1, method="blockchain.headers.subscribe", params=[]),
    LANGUAGE_SERVER,
    line(jsonrpc="2.0", id=1, method="eth_blockNumber", params=[]),
    line(jsonrpc="2.0", id=1, method="eth_getBlockByNumber", params=["latest", False]),
    line(jsonrpc="2.0", id=1, result=["0x" + "ab" * 32] * 3),
    line(version="1.1", host="web1", short_message="mining.subscribe", level=6),
    line(message=LOGIN.decode(), level="info", logger="proxy"),
    line(log={"method": "mining.subscribe", "params": []}, stream="stdout"),
    line(topic="home/miner/login", payload={"method": "login"}),
    line(description={"text": "A Minecraft Server"}, players={"max": 20}),
    line(Id="4c01db0b339c", Image="ubuntu:22.04", Config={"Cmd": ["login"]}),
    line(method="mining.start", params=[2]),
    line(id=1, method="getblockchaininfo", params=[]),
    line(id=1, method="getmininginfo", params=[]),
    line(id=1, result={"job": {"id": 12, "state": "queued"}, "status": "OK"}),
    b'POST /login HTTP/1.1\r\nHost: a\r\n\r\n{"login":"bob","pass":"x"}',
    b"[2026-11-23 10:00:00] INFO mining.subscribe login job\n",
]


@pytest.mark.parametrize("data", OTHER_PROTOCOLS)
@pytest.mark.parametrize("direction", ["out", "in"])
def test_other_protocols_are_silent(analyser, say, data, direction):
    """
    They use the same words, or the same shape, for other things.
    """
    assert say(analyser, data, direction=direction) == []


@pytest.mark.parametrize(
    "params",
    [
        {"login": "bob", "pass": "x"},
        {"login": "bob", "password": "x", "agent": "Mozilla/5.0"},
        {"login": "bob@example.org", "pass": "x", "agent": "ExaminerApp/1.0"},
        {"login": "bob", "pass": "x", "algo": "argon2id"},
        {"login": "3f2504e04f8941d39a0c0305e82c3301", "pass": "x"},
        {"login": "thequickbrownfoxjumpsoverdogs", "pass": "x"},
        {"login": "18f7Rmc9aVDFpvM1sBXoxVncYLQ7bW9E", "pass": "x"},
    ],
)
def test_login_that_may_be_anything_is_not_called_mining(analyser, say, params):
    """
    The structure is a pool's, but nothing in it is.
    """
    [spoken] = say(analyser, line(id=1, method="login", params=params))

    assert (spoken.protocol, spoken.method, spoken.login) == ("json-rpc", "login", params["login"])


def test_doubtful_login_is_settled_by_the_job_that_answers_it(analyser, say):
    """
    Only a pool answers with work, and then the login is known.
    """
    say(analyser, line(id=1, method="login", params={"login": "bob", "pass": "x"}))
    [spoken] = say(analyser, SERVER_LINES[0][0], direction="in")

    assert (spoken.protocol, spoken.login) == ("stratum-monero", "bob")


# ---- pieces ---------------------------------------------------------------------------------


def test_lines_in_one_segment_are_told_apart(analyser, say):
    """
    A client that has just connected may say several things at once.
    """
    heard = say(analyser, b" \r\n" + LOGIN.rstrip(b"\n") + b"\r\n" + SUBMIT + LOGIN)

    assert [each.method for each in heard] == ["login", "submit", "login"]


def test_message_without_a_line_end_does_not_wait_for_one(analyser, say):
    """
    The pool would not need it either, and the miner would be at work.
    """
    assert [each.method for each in say(analyser, LOGIN.rstrip())] == ["login"]


def test_retransmissions_are_heard_once(analyser, observed, payload):
    """
    Whole, in part, and with more behind what is known.
    """
    feed = lambda data, at: analyser.feed(observed(payload(data, sequence=at)))  # noqa: E731
    assert feed(LOGIN[:60], 1) == ()
    assert feed(LOGIN[:60], 1) == ()
    assert feed(LOGIN[20:80], 21) == ()

    [spoken] = feed(LOGIN[50:], 51)
    assert (spoken.login, spoken.algorithms) == (WALLET, ("rx/0", "cn/r"))
    assert feed(LOGIN[50:], 51) == ()


def test_sequence_numbers_wrap(analyser, observed, payload):
    """
    They are 32 bits long and begin anywhere.
    """
    first = (1 << 32) - 10

    assert analyser.feed(observed(payload(LOGIN[:30], sequence=first))) == ()
    [spoken] = analyser.feed(observed(payload(LOGIN[30:], sequence=20)))

    assert spoken.method == "login"


def test_segments_that_the_network_swapped_are_put_in_order(analyser, observed, payload):
    """
    What comes from outside may overtake itself.
    """
    job = SERVER_LINES[0][0]
    parts = [(job[at : at + 60], 1 + at) for at in range(0, len(job), 60)]
    parts[1], parts[2] = parts[2], parts[1]

    heard = [
        spoken
        for data, at in parts
        for spoken in analyser.feed(observed(payload(data, sequence=at, direction="in")))
    ]

    assert [each.method for each in heard] == ["result"]


def test_lost_segment_does_not_silence_what_follows(analyser, observed, payload):
    """
    The half line before the gap is not joined with the half line behind it.
    """
    assert analyser.feed(observed(payload(LOGIN[:40], sequence=1))) == ()
    [spoken] = analyser.feed(observed(payload(LOGIN, sequence=500)))

    assert spoken.login == WALLET


def test_socket_that_is_connected_anew_is_heard_anew(analyser, say, observed, payload):
    """
    The same socket, another stream: its numbers begin elsewhere.
    """
    say(analyser, b'{"hello":1}\n')

    [spoken] = analyser.feed(observed(payload(LOGIN, sequence=(1 << 31) + 12345)))

    assert spoken.method == "login"


def test_line_of_which_only_the_beginning_was_copied_is_recognised(analyser, observed, payload):
    """
    The kernel side hands over the first part of a long segment.
    """
    long = LOGIN.replace(b'"rx/0"', b",".join(b'"cn/%d"' % number for number in range(200)))

    [spoken] = analyser.feed(observed(payload(long[:400], length=len(long))))

    assert (spoken.method, spoken.login) == ("login", WALLET)
    assert spoken.algorithms[:2] == ("cn/0", "cn/1")


def test_cut_line_does_not_swallow_the_next_segment(analyser, observed, payload):
    """
    After a gap a new line is taken as one.
    """
    analyser.feed(observed(payload(b'{"method":"x","a":"', length=500)))

    [spoken] = analyser.feed(observed(payload(LOGIN, sequence=501)))

    assert spoken.method == "login"


def test_end_of_a_line_that_is_too_long_is_no_line(analyser, say):
    """
    A pool would not take it for one either.
    """
    assert say(analyser, b"x" * 8192, LOGIN) == []
    assert [each.method for each in say(analyser, LOGIN, cookie=8)] == ["login"]


def test_batch_is_looked_into(analyser, say):
    """
    JSON-RPC lets a client send several messages as one array.
    """
    heard = say(analyser, b"[" + LOGIN.strip() + b"," + SUBMIT.strip() + b"]\n")

    assert [each.method for each in heard] == ["login", "submit"]


def test_connections_do_not_mix(analyser, observed, payload):
    """
    Two halves of a login on two sockets are no login.
    """
    analyser.feed(observed(payload(LOGIN[:50], cookie=1)))

    assert analyser.feed(observed(payload(LOGIN[50:], sequence=51, cookie=2))) == ()


def feed_in_pieces(stream: bytes, cuts: list[int], direction: str = "out") -> list[tuple]:
    """What is recognised in a stream that comes in pieces that end at these places."""
    analyser, key = MiningProtocols(), ProcessKey(1, 1)
    heard, last = [], 0
    for cut in sorted({*(cut % (len(stream) + 1) for cut in cuts), len(stream)}):
        event = PayloadSeen(
            at_ns=0, process=key, cookie=1, direction=direction, transport="tcp",
            address="203.0.113.7", port=1, sequence=last, length=cut - last,
            data=stream[last:cut],
        )  # fmt: skip
        observed = Observed(event=event, process=Process(key=key), host=HostContext())
        heard += [(each.protocol, each.method, each.login) for each in analyser.feed(observed)]
        last = cut
    return heard


PIECES = st.sampled_from(
    [data for data, *_ in CLIENT_LINES + SERVER_LINES]
    + [*OTHER_PROTOCOLS, b"\r\n", b"  ", b'{"broken":\n', b"{" * 50, b'{"a":"\\', b"x" * 9000]
)


@given(st.lists(PIECES, max_size=6), st.lists(st.integers(0, 1 << 20), max_size=40))
def test_result_does_not_depend_on_how_the_stream_was_cut(lines, cuts):
    """
    TCP promises bytes in order, not where one piece ends.
    """
    stream = b"".join(lines)

    assert feed_in_pieces(stream, cuts) == feed_in_pieces(stream, [])


@given(
    st.lists(
        st.tuples(
            st.one_of(st.binary(max_size=200), PIECES),
            st.integers(0, (1 << 32) - 1) | st.integers(0, 3000),
            st.integers(0, 70_000),
            st.sampled_from(["in", "out"]),
            st.integers(0, 3),
        ),
        max_size=30,
    )
)
def test_no_input_raises_and_little_is_held(segments):
    """
    Whoever can send a packet chooses all of this.
    """
    analyser, key = MiningProtocols(connections=2, held_bytes=4096), ProcessKey(1, 1)
    for data, sequence, length, direction, cookie in segments:
        event = PayloadSeen(
            at_ns=0, process=key, cookie=cookie, direction=direction, transport="tcp",
            address="203.0.113.7", port=1, sequence=sequence, length=length, data=data,
        )  # fmt: skip
        for spoken in analyser.feed(
            Observed(event=event, process=Process(key=key), host=HostContext())
        ):
            spoken.login.encode()
            spoken.agent.encode()

        assert analyser.held <= 4096


def test_memory_is_bounded_in_connections(say):
    """
    The connection heard of longest ago is forgotten, and that is counted.
    """
    analyser = MiningProtocols(connections=10)
    for cookie in range(1, 31):
        say(analyser, b'{"unfinished":', cookie=cookie)

    assert analyser.evicted == 20
    assert analyser.held == 10 * len(b'{"unfinished":')


def test_hostile_json_costs_little(analyser, say):
    """
    Deep nesting, and many small objects in one line, stay cheap.
    """
    for hostile in (b"[" * 8000, b'{"a":' * 3000, b"{}" * 4000, b'["a",' * 2000, b"{" * 8191):
        say(analyser, hostile + b"\n")

    assert [each.method for each in say(analyser, LOGIN, cookie=9)] == ["login"]
