# SPDX-License-Identifier: Apache-2.0
"""The daemon's log about itself: facts with values, by structlog, to the journal or a console.

    log.get_logger().warning("records_lost", source="bpf", lost=3)

In the journal the fact is FIREDAMP_LOG, each value a field FIREDAMP_<NAME>, and MESSAGE all
of it in one line. Alerts do not go this way: see `firedamp.alerts.sink`.
"""

import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, TextIO

# structlog imports these where they are installed, for tracebacks in colour: 4 MiB.
_UNWANTED: Final = [name for name in ("rich", "better_exceptions") if name not in sys.modules]
sys.modules.update(dict.fromkeys(_UNWANTED))  # type: ignore[arg-type] # None forbids the import
import structlog  # noqa: E402

for _name in _UNWANTED:
    del sys.modules[_name]

from firedamp.alerts.journal import Journal  # noqa: E402
from firedamp.alerts.plain import plain, unicode_text  # noqa: E402

_LEVELS: Final[Mapping[str, int]] = {
    "critical": 2, "error": 3, "exception": 3, "warning": 4, "info": 6, "debug": 7,
}  # fmt: skip


def get_logger() -> Any:
    """A logger, untyped as structlog's are; `set_up` may come later than this."""
    return structlog.get_logger()


def set_up(*, journal: Journal | None = None, stream: TextIO | None = None) -> None:
    """Send the log to the journal, or else as lines to a stream (standard error)."""
    target: _ToJournal | _ToStream
    target = _ToJournal(journal) if journal else _ToStream(stream or sys.stderr)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            target,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(20),
        cache_logger_on_first_use=False,
    )


class _ToJournal:
    """The last processor: sends the entry, and drops it for structlog."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def __call__(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
        level, exception = str(event.pop("level", "info")), event.pop("exception", "")
        lines = [
            f"MESSAGE={_line(event)}",
            f"PRIORITY={_LEVELS.get(level, 6)}",
            "SYSLOG_IDENTIFIER=firedamp",
            "FIREDAMP_KIND=log",
            f"FIREDAMP_LOG={plain(event.pop('event', ''))}",
        ]
        lines += [
            f"FIREDAMP_{key.upper()}={plain(value, limit=1000)}" for key, value in event.items()
        ]
        if exception:
            lines.append(f"FIREDAMP_TRACEBACK={unicode_text(exception)}")
        self._journal.write_lines(lines)
        raise structlog.DropEvent


class _ToStream:
    """The last processor: writes one line, and the traceback below it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
        level, exception = str(event.pop("level", "info")), event.pop("exception", "")
        lines = [f"{level:<8} {_line(event)}", *exception.splitlines()]
        self._stream.write("".join(f"{plain(line, limit=2000)}\n" for line in lines))
        self._stream.flush()
        raise structlog.DropEvent


def _line(event: Mapping[str, Any]) -> str:
    values = [f"{key}={plain(value)}" for key, value in event.items() if key != "event"]
    return " ".join([plain(event.get("event", "")), *values])
