# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firedamp.context.window import SlidingWindow


@pytest.fixture
def window():
    """Ten long, for three keys of four values each."""
    return SlidingWindow(length_ns=10, keys=3, values=4)


def test_values_leave_when_they_are_too_old(window):
    """
    By the time of the events; both ends of the window belong to it.
    """
    assert window.add("a", 0, "first") == ("first",)
    assert window.add("a", 10, "second") == ("first", "second")
    assert window.add("a", 11, "third") == ("second", "third")
    assert window.values("a", 21) == ("third",)
    assert window.values("a", 22) == ()
    assert len(window) == 0


def test_keys_do_not_mix(window):
    """
    What one did is nothing the other did.
    """
    window.add("a", 0, 1)

    assert window.add("b", 0, 2) == (2,)
    assert window.values("c", 0) == ()


def test_values_that_come_late_are_put_in_their_place(window):
    """
    Events of several sources come not quite in order; one that is too old is not kept.
    """
    window.add("a", 20, "late")

    assert window.add("a", 15, "early") == ("early", "late")
    assert window.add("a", 9, "gone") == ("early", "late")


def test_keys_and_values_are_bounded(window):
    """
    The oldest go, and are counted.
    """
    for number in range(6):
        window.add("a", number, number)
    for key in "bcd":
        window.add(key, 6, 0)

    assert window.values("a", 6) == ()
    assert window.values("d", 6) == (0,)
    assert len(window) == 3
    assert window.evicted == 3


def test_forgotten_key_has_nothing(window):
    """
    Forgetting twice is no error.
    """
    window.add("a", 0, 1)
    window.forget("a")
    window.forget("a")

    assert window.values("a", 0) == ()


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 60)), max_size=80))
def test_window_holds_what_a_plain_reading_says(additions):
    """
    All values of the key that are not older than its newest by more than the window.
    """
    window = SlidingWindow(length_ns=10, keys=100, values=100)
    seen: dict[int, list[tuple[int, int]]] = {}
    for number, (key, at) in enumerate(additions):
        entries = seen.setdefault(key, [])
        entries.append((at, number))
        newest = max(at for at, _ in entries)
        expected = sorted(entry for entry in entries if entry[0] >= newest - 10)

        assert window.add(key, at, number) == tuple(value for _, value in expected)
