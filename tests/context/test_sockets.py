# SPDX-License-Identifier: Apache-2.0
from firedamp.context.sockets import Socket, Sockets
from firedamp.events.model import ConnectionOpened, ProcessKey

ONE, OTHER = ProcessKey(1, 1), ProcessKey(2, 2)


def opened(cookie: int, process: ProcessKey = ONE, *, port: int = 443) -> ConnectionOpened:
    """A process asked for a connection."""
    return ConnectionOpened(
        at_ns=cookie,
        process=process,
        cookie=cookie,
        transport="tcp",
        address="203.0.113.7",
        port=port,
        uid=0,
        denied=False,
    )


def test_connection_is_found_by_cookie_and_by_process():
    """
    A payload names its socket, a decision names a process.
    """
    sockets = Sockets()
    sockets.opened(opened(5))
    sockets.opened(opened(6, OTHER))
    sockets.opened(opened(7))

    assert sockets.get(5) == Socket(ONE, "203.0.113.7", 443, "tcp", 5)
    assert [each.opened_ns for each in sockets.of_process(ONE)] == [5, 7]
    assert sockets.get(99) is None
    assert sockets.of_process(ProcessKey(1, 2)) == ()


def test_socket_without_a_cookie_is_nobodys():
    """
    All unknown sockets would else be one.
    """
    sockets = Sockets()
    sockets.opened(opened(0))

    assert len(sockets) == 0


def test_socket_that_is_connected_again_is_remembered_once():
    """
    A datagram socket sends to several addresses; the last is where it is now.
    """
    sockets = Sockets()
    sockets.opened(opened(5, port=53))
    sockets.opened(opened(5, port=443))

    assert [each.port for each in sockets.of_process(ONE)] == [443]


def test_socket_that_was_handed_on_belongs_to_who_connects():
    """
    A child may connect a socket that its parent made and tried before.
    """
    sockets = Sockets()
    sockets.opened(opened(5, ONE))
    sockets.opened(opened(5, OTHER))

    assert sockets.get(5).process == OTHER
    assert sockets.of_process(ONE) == ()
    assert sockets.evicted == 0


def test_oldest_goes_when_all_are_full():
    """
    What was looked at lately stays.
    """
    sockets = Sockets(limit=3)
    for cookie in (1, 2, 3):
        sockets.opened(opened(cookie))
    sockets.get(1)
    sockets.opened(opened(4))

    assert [cookie for cookie in (1, 2, 3, 4) if sockets.get(cookie)] == [1, 3, 4]
    assert sockets.evicted == 1


def test_busy_process_pushes_out_its_own():
    """
    A proxy must not make us forget where a quiet miner is connected to.
    """
    sockets = Sockets(limit=100, limit_per_process=10)
    sockets.opened(opened(1, OTHER))
    for cookie in range(2, 1000):
        sockets.opened(opened(cookie, ONE))

    assert sockets.get(1) is not None
    assert len(sockets.of_process(ONE)) == 10
    assert len(sockets) == 11


def test_both_views_stay_the_same_whatever_is_evicted():
    """
    A process without sockets leaves nothing behind.
    """
    sockets = Sockets(limit=50, limit_per_process=4)
    keys = [ProcessKey(pid, 1) for pid in range(1, 200)]
    for cookie in range(1, 5000):
        sockets.opened(opened(1 + cookie * 7 % 900, keys[cookie * 31 % len(keys)]))

        assert len(sockets) <= 50
    assert sum(len(sockets.of_process(key)) for key in keys) == len(sockets) == 50
