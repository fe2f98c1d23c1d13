# SPDX-License-Identifier: Apache-2.0
"""Sustained CPU use: only what lasts, once a window, in bounded memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firedamp.analysis.cpu import NS_PER_S, SustainedCpu
from firedamp.context.host import HostContext
from firedamp.context.process import Observed, Process
from firedamp.events.model import CpuMeasured, ProcessExited, ProcessKey

KEY = ProcessKey(7, 7)


def measured(at_s: float, cpu_s: float, key: ProcessKey = KEY) -> CpuMeasured:
    """A process has used so much by then."""
    return CpuMeasured(
        at_ns=round(at_s * NS_PER_S), process=key, cpu_ns=round(cpu_s * NS_PER_S), threads=4
    )


def feed(analyser: SustainedCpu, event):
    """What the analyser makes of one event."""
    process = Process(key=event.process)
    return list(analyser.feed(Observed(event=event, process=process, host=HostContext())))


def run(analyser: SustainedCpu, uses: list[float], *, key: ProcessKey = KEY):
    """Measure every second a process that used so many cores in each; (when, what came of it)."""
    found = [(0, each) for each in feed(analyser, measured(0, 100, key))]
    used = 100.0
    for second, cores in enumerate(uses, start=1):
        used += cores
        found += [(second, each) for each in feed(analyser, measured(second, used, key))]
    return found


@pytest.fixture
def analyser():
    """One with a window of a minute and a threshold of 0.8 cores."""
    return SustainedCpu(window_s=60, cores=0.8)


def test_use_that_fills_the_window_is_reported_once_a_window(analyser):
    """
    With the cores it kept busy, whatever the machine has.
    """
    found = run(analyser, [3.9] * 130)

    assert [at for at, _ in found] == [60, 120]
    assert found[0][1].cores == pytest.approx(3.9, abs=0.01)
    assert (found[0][1].window_s, found[0][1].threads, found[0][1].process) == (60, 4, KEY)


def test_use_just_below_the_threshold_is_silent(analyser):
    """
    The threshold is what the administrator set.
    """
    assert run(analyser, [0.79] * 300) == []


def test_burst_that_lifts_the_mean_is_not_sustained(analyser):
    """
    Forty seconds of eight cores are more work than a minute of one, and still not a minute.
    """
    assert run(analyser, ([8.0] * 40 + [0.1] * 20) * 5) == []


def test_pause_begins_the_window_anew(analyser):
    """
    Every part of the window counts, the last included.
    """
    found = run(analyser, [1.0] * 50 + [0.0] * 10 + [1.0] * 75)

    assert [at for at, _ in found] == [120]


def test_jitter_within_a_part_is_no_pause(analyser):
    """
    On a crowded machine processes take turns.
    """
    assert len(run(analyser, [1.8, 0.0] * 35)) == 1


def test_process_that_was_not_measured_meanwhile_has_paused(analyser):
    """
    Only busy processes are measured; a long silence is idleness, whatever came before and after.
    """
    feed(analyser, measured(0, 0))
    for second in range(10, 60, 10):
        assert feed(analyser, measured(second, second * 8)) == []

    assert feed(analyser, measured(90, 90 * 8)) == []


def test_exit_ends_what_was_followed(analyser):
    """
    A dead process needs no memory.
    """
    run(analyser, [1.0] * 30)
    feed(analyser, ProcessExited(at_ns=0, process=KEY, exit_code=0, cpu_ns=0))

    assert len(analyser) == 0


def test_figures_that_run_backwards_begin_anew(analyser):
    """
    Records of several CPUs can be read out of order.
    """
    run(analyser, [1.0] * 59)

    assert feed(analyser, measured(30, 50)) == []
    assert feed(analyser, measured(40, 61)) == []


def test_processes_are_bounded():
    """
    The one measured longest ago goes, and is counted.
    """
    analyser = SustainedCpu(window_s=60, cores=0.8, processes=3)
    for pid in range(1, 6):
        feed(analyser, measured(pid, 0, ProcessKey(pid, 1)))

    assert (len(analyser), analyser.evicted) == (3, 2)


@given(st.lists(st.floats(0, 4), min_size=1, max_size=200))
def test_report_is_never_less_than_the_threshold_over_its_window(uses):
    """
    Whatever the pattern of use: a report says truly that the mean was reached.
    """
    for at, sustained in run(SustainedCpu(window_s=10, cores=1.0), uses):
        window = uses[max(0, at - 10) : at]

        assert sum(window) / len(window) >= 0.99
        assert sustained.cores >= 0.99
