# SPDX-License-Identifier: Apache-2.0
import io
import subprocess
import sys

import pytest
import structlog

from firedamp import log
from firedamp.alerts.journal import Journal


@pytest.fixture(autouse=True)
def restored():
    """Other tests find structlog as it was."""
    yield
    structlog.reset_defaults()


def test_fact_is_one_line_on_a_stream():
    """
    A name and its values, and nothing that a terminal would obey.
    """
    stream = io.StringIO()
    log.set_up(stream=stream)

    log.get_logger().warning("records_lost", source="b\x1b[2Jpf", lost=3)

    assert stream.getvalue() == "warning  records_lost source=b\\x1b[2Jpf lost=3\n"


def test_values_are_fields_in_the_journal():
    """
    So that `journalctl FIREDAMP_LOG=records_lost` finds them.
    """
    sent = []
    journal = Journal(ready=lambda: True, send=lambda *lines: sent.append(lines))
    log.set_up(journal=journal)

    log.get_logger().error("records_lost", source="bpf", lost=3)

    assert sent == [
        (
            "MESSAGE=records_lost source=bpf lost=3",
            "PRIORITY=3",
            "SYSLOG_IDENTIFIER=firedamp",
            "FIREDAMP_KIND=log",
            "FIREDAMP_LOG=records_lost",
            "FIREDAMP_SOURCE=bpf",
            "FIREDAMP_LOST=3",
        )
    ]


def test_traceback_comes_along():
    """
    Line by line on a stream, as a field in the journal.
    """
    sent = []
    journal = Journal(ready=lambda: True, send=lambda *lines: sent.extend(lines))
    stream = io.StringIO()
    for target in ({"stream": stream}, {"journal": journal}):
        log.set_up(**target)
        try:
            raise RuntimeError("x\x1b")
        except RuntimeError:
            log.get_logger().exception("failed")

    assert stream.getvalue().endswith("RuntimeError: x\\x1b\n")
    assert sent[-1].startswith("FIREDAMP_TRACEBACK=Traceback (most recent call last):\n")


def test_debugging_is_quiet():
    """
    The hot path may speak at that level without cost.
    """
    stream = io.StringIO()
    log.set_up(stream=stream)

    log.get_logger().debug("detail")

    assert stream.getvalue() == ""


def test_everything_that_tells_stays_small():
    """
    What the long-lived process imports in order to tell: no rich, no pydantic, no yaml.
    """
    code = f"import sys; sys.path[:0] = {sys.path!r}; import firedamp.alerts.sink; "
    command = [sys.executable, "-Ic", code + "print(*sys.modules)"]

    result = subprocess.run(command, capture_output=True, text=True, check=True)

    assert {"rich", "pydantic", "yaml", "bcc", "sigma"}.isdisjoint(result.stdout.split())
