# SPDX-License-Identifier: Apache-2.0
"""The one door through which alerts leave.

Nothing in here raises into the main loop. An output that fails is counted and named in the
daemon's log, once until it works again; the other outputs get the entry all the same. An
alert that cannot even be described goes out as the bare fact that there was one.
"""

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from firedamp import log
from firedamp.alerts.console import Console
from firedamp.alerts.ecs import Origin
from firedamp.alerts.ecs_parts import Document
from firedamp.alerts.entries import (
    Entry,
    NoticeKind,
    action_entry,
    alert_entry,
    loss_entry,
    notice_entry,
)
from firedamp.alerts.journal import Journal, is_answering
from firedamp.alerts.jsonl import JsonLinesFile, JsonLinesStream
from firedamp.context.process import Process
from firedamp.events.model import RecordsLost
from firedamp.policy.types import Alert, Decision
from firedamp.response.base import Receipt
from firedamp.settings import Settings


class Output(Protocol):
    """A place to which entries go."""

    @property
    def name(self) -> str: ...

    def write(self, entry: Entry) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


def wall_clock_offset() -> int:
    """Wall-clock time minus boot-time, in nanoseconds, as of now."""
    return time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Sink:
    """Sends alerts, actions, losses and notices to every output that is configured.

    Args:
        settings: `alerts` and `state_directory` are read.
        console: a person reads standard output.
        clock_offset: asked for each entry, so that a clock that is set does not matter.
        outputs: for tests; None: what the settings say.
    """

    def __init__(
        self,
        settings: Settings,
        console: bool = False,  # noqa: FBT001, FBT002 - reads well where it is called
        clock_offset: Callable[[], int] = wall_clock_offset,
        *,
        outputs: Iterable[Output] | None = None,
    ) -> None:
        self._log = log.get_logger()
        self._clock_offset = clock_offset
        self._host_name = os.uname().nodename
        self._host_id = _machine_id()
        self._outputs = tuple(_outputs(settings, console=console) if outputs is None else outputs)
        self.journal = next((one for one in self._outputs if isinstance(one, Journal)), None)
        """The way into the journal, which the daemon's log shares; None where there is none."""
        self._failing: set[str] = set()
        self.counts: Counter[str] = Counter()
        """Entries by kind: alert, action, loss, and the kinds of notices."""
        self.failures: Counter[str] = Counter()
        """Entries that an output did not take, by its name; `entry` for those not made."""

    def alert(
        self,
        alert: Alert,
        process: Process,
        receipts: Iterable[Receipt] = (),
        *,
        decision: Decision | None = None,
    ) -> None:
        """Send an alert, with what was decided and done about it as far as that is known."""
        origin = self._origin()
        self._send(
            "alert",
            lambda: alert_entry(alert, process, origin, decision=decision, receipts=receipts),
            f"policy {alert.policy.id} matched pid {alert.process.pid}",
        )

    def action(self, decision: Decision, receipt: Receipt) -> None:
        """Send one step that was taken, refused, failed or taken back, as of now."""
        origin, at_ns = self._origin(), time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self._send(
            "action",
            lambda: action_entry(decision, receipt, origin, at_ns=at_ns),
            f"{receipt.action}: {receipt.outcome}",
        )

    def loss(self, event: RecordsLost) -> None:
        """Send that records were lost."""
        origin = self._origin()
        self._send("loss", lambda: loss_entry(event, origin), f"{event.count} records lost")

    def notice(self, kind: NoticeKind, text: str, **fields: object) -> None:
        """Send something that an administrator has to know about the daemon itself."""
        origin, at_ns = self._origin(), time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self._send(
            kind,
            lambda: notice_entry(kind, text, origin, at_ns=at_ns, fields=fields),
            kind,
        )

    def flush(self) -> None:
        """Try again what an output could not take; for the main loop, every second or so."""
        for output in self._outputs:
            self._guarded(output, output.flush)

    def close(self) -> None:
        for output in self._outputs:
            self._guarded(output, output.close)

    def status(self) -> dict[str, object]:
        """For `firedamp status`."""
        state: dict[str, object] = {
            "outputs": [output.name for output in self._outputs],
            "sent": dict(self.counts),
            "failures": dict(self.failures),
        }
        if self.journal:
            state["journal_waiting"] = self.journal.waiting
            state["journal_lost"] = self.journal.lost
        return state

    def _origin(self) -> Origin:
        return Origin(
            host_name=self._host_name,
            host_id=self._host_id,
            clock_offset_ns=self._clock_offset(),
        )

    def _send(self, kind: str, make: Callable[[], Entry], bare_fact: str) -> None:
        self.counts[kind] += 1
        try:
            entry = make()
        except Exception as error:  # noqa: BLE001 - an alert must get out, whatever it holds
            self.failures["entry"] += 1
            self._log.error("entry_not_made", kind=kind, error=repr(error))
            entry = _bare(kind, bare_fact)
        for output in self._outputs:
            self._guarded(output, output.write, entry)

    def _guarded(self, output: Output, call: Callable[..., None], *arguments: Entry) -> None:
        try:
            call(*arguments)
        except Exception as error:  # noqa: BLE001 - one output must not take the others along
            self.failures[output.name] += 1
            if output.name not in self._failing:
                self._failing.add(output.name)
                self._log.error("alert_output_failed", output=output.name, error=repr(error))
        else:
            if arguments and output.name in self._failing:
                self._failing.discard(output.name)
                self._log.info("alert_output_works_again", output=output.name)


def _outputs(settings: Settings, *, console: bool) -> Iterable[Output]:
    wanted = settings.alerts.journal
    has_journal = wanted == "yes" or (wanted == "auto" and _has_journal())
    if has_journal:
        yield Journal()
    if console:
        yield Console(sys.stdout)
    elif wanted == "auto" and not has_journal:
        yield JsonLinesStream()
    path = settings.alerts.file or f"{settings.state_directory}/alerts.jsonl"
    yield JsonLinesFile(Path(path), max_bytes=settings.alerts.max_file_mb << 20)


def _has_journal() -> bool:
    # systemd sets the variable where it has connected us with a journal, which may be
    # restarting at the moment.
    return is_answering() or "JOURNAL_STREAM" in os.environ


def _bare(kind: str, fact: str) -> Entry:
    document: Document = {"message": fact, "firedamp": {"kind": kind}}
    return Entry(kind=kind, message=fact, priority=3, fields=(), document=document)


def _machine_id() -> str:
    try:
        return Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
