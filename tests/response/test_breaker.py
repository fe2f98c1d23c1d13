# SPDX-License-Identifier: Apache-2.0

import pytest

from firedamp.response.breaker import Breaker
from firedamp.settings import Breaker as BreakerSettings

SECOND = 1_000_000_000


@pytest.fixture
def trips():
    """What was said when it tripped."""
    return []


@pytest.fixture
def breaker(trips):
    """Two kills in ten seconds are allowed."""
    return Breaker(BreakerSettings(max_kills=2, window_s=10), tripped=False, on_trip=trips.append)


def test_one_kill_too_many_trips_it(breaker, trips):
    """
    The kill that would be one too many does not happen, and it is said once.
    """
    assert [breaker.allow_kill(at * SECOND) for at in (0, 1, 2, 3)] == [True, True, False, False]
    assert len(trips) == 1
    assert breaker.tripped


def test_kills_that_are_far_apart_do_not_trip_it(breaker, trips):
    """
    Only those inside the window count.
    """
    assert all(breaker.allow_kill(at * SECOND) for at in range(0, 100, 6))
    assert trips == []


def test_it_stays_tripped_until_reset(breaker):
    """
    Time alone does not make a wrong policy right.
    """
    for _ in range(3):
        breaker.allow_kill(0)
    assert not breaker.allow_kill(1000 * SECOND)

    breaker.reset()

    assert breaker.allow_kill(1001 * SECOND)
