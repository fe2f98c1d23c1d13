# SPDX-License-Identifier: Apache-2.0
"""The daemon: the one place that knows every part, and its main loop.

One thread, one epoll. What wakes it: a record that may call for action at once, a change of a
watched file, a client on the control socket, a signal; and every `sources.collect_ms` the
records that could wait.
"""

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path

from systemd import daemon

from firedamp import log
from firedamp.alerts.sink import Sink
from firedamp.analysis.registry import analysers
from firedamp.cgroups import cgroup2_mount
from firedamp.compiled import Compiled, load_in_child
from firedamp.context.host import HostContext
from firedamp.control.server import ControlServer
from firedamp.errors import ConfigError, FiredampError, PolicyError
from firedamp.events.model import Event, RecordsLost
from firedamp.paths import control_socket
from firedamp.pipeline import Pipeline
from firedamp.policy.decide import decide
from firedamp.policy.engine import Engine
from firedamp.policy.respawn import Respawners
from firedamp.policy.types import Alert, Decision
from firedamp.recorders import Recorders
from firedamp.response.assembly import assemble
from firedamp.response.base import Receipt
from firedamp.response.executor import Executor
from firedamp.response.keeper import Keeper
from firedamp.single import only_one
from firedamp.sources.places import Places
from firedamp.start_up import Started, first_events, settle_memory, start_sources
from firedamp.verbs import register

CPU_EVERY_S = 5.0
HOUSEKEEPING_EVERY_S = 1.0
RELOAD_S = 20.0
"""How long policies may take to load anew: the loop stands still, and the watchdog is at 30 s."""
COMPARE_EVERY_S = 300.0
"""How often the watched places are compared with what is remembered, for what no hook sees."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def run(config_path: Path | None, *, console: bool) -> int:
    """Run until SIGTERM or SIGINT; 0 for a clean end, 1 where a setting or the host is not fit."""
    log.set_up()
    keeper = Keeper()
    try:
        keeper.start()  # first of all, while there is little that it could inherit
        compiled = load_in_child(config_path)
        with only_one(compiled.settings.runtime_directory):
            service = Service(compiled, keeper, config_path, console=console)
            try:
                service.start()
                service.loop()
            finally:
                service.close()
    except FiredampError as error:
        sys.stderr.write(f"firedamp: {error}\n")
        return 1
    finally:
        keeper.stop()
    return 0


def notify(state: str) -> None:
    """Tell the service manager, where there is one. It may be restarting: that ends nothing."""
    with contextlib.suppress(OSError):
        daemon.notify(state)


class Service:
    """All parts, joined."""

    def __init__(
        self, compiled: Compiled, keeper: Keeper, config_path: Path | None, *, console: bool
    ) -> None:
        self.settings = compiled.settings
        self.compiled = compiled
        self._config_path = config_path
        self._console = console
        self._keeper = keeper
        self._closers: list[tuple[str, Callable[[], object]]] = []
        self._stopping = False
        self._reload_wanted = False
        self._epoll = select.epoll()
        self._respawners = Respawners()
        self._boot_id = _BOOT_ID.read_text().strip()
        self.started_s = time.time()
        self.counts = {"events": 0, "alerts": 0, "lost": 0, "not_judged": 0}
        self.sources: Started
        self.sink: Sink
        self.pipeline: Pipeline
        self.executor: Executor
        self.recorders = Recorders(
            self.settings,
            self._boot_id,
            on_failure=lambda why: self.sink.notice("degraded", why),
        )

    # ---- life cycle -------------------------------------------------------------------------

    def start(self) -> None:
        """Bring everything up, and judge what was there already.

        Raises:
            ConfigError: the host or a setting is not fit.
            ActionError: the ledger cannot be opened.
        """
        settings = self.settings
        Path(settings.state_directory).mkdir(mode=0o700, parents=True, exist_ok=True)
        self.sink = Sink(settings, self._console)
        self._closers.append(("alerts", self.sink.close))
        log.set_up(journal=self.sink.journal)
        for warning in self.compiled.warnings:
            log.get_logger().warning("policy_warning", text=warning)
        wake_fd = self._catch_signals()
        control = self._open_control()
        self.sources = start_sources(settings)
        self._closers.append(("sources", self.sources.collector.close))
        self.executor = assemble(
            settings,
            self._keeper,
            on_receipt=self._on_receipt,
            on_breaker=lambda why: self.sink.notice("breaker", why),
            deny_map=self.sources.bpf.deny_map,
            places=lambda: Places(settings.watch).place_of,
        )
        self._closers.append(("response", self.executor.stop))
        self.executor.restore()
        if lacking := self.executor.prepare():
            self.sink.notice("degraded", f"addresses cannot be blocked in nftables: {lacking}")
        host = HostContext(self.compiled.indicators)
        engine = Engine(self.compiled.policies, boot_id=self._boot_id)
        self.pipeline = Pipeline(host, analysers(settings), engine)
        for fd in self.sources.collector.filenos():
            self._epoll.register(fd, select.EPOLLIN | select.EPOLLET)
        for fd in (wake_fd, control.fileno()):
            self._epoll.register(fd, select.EPOLLIN)
        self._wake_fd, self._control = wake_fd, control
        self.recorders.start_standing()
        self._closers.append(("recording", self.recorders.close))
        self._judge(first_events(self.sources, settings.sources.cgroup_root or cgroup2_mount()))
        settle_memory()
        self._tell_started()

    def loop(self) -> None:
        """Read, judge, act, until told to stop."""
        collect_s = self.settings.sources.collect_ms / 1000
        # A short window is not judged by one measurement: between two, nobody could be followed.
        cpu_every_s = min(CPU_EVERY_S, self.settings.sources.cpu_window_s / 6)
        next_cpu = time.monotonic() + cpu_every_s
        next_housekeeping = 0.0
        next_compare = time.monotonic() + COMPARE_EVERY_S
        more = False
        while not self._stopping:
            ready = self._epoll.poll(0 if more else collect_s)
            events, more = self.sources.collector.read()
            self._judge(events)
            for fd, _ in ready:
                if fd == self._control.fileno():
                    self._control.on_readable()
                elif fd == self._wake_fd:
                    self._drain_wake_fd()
            now = time.monotonic()
            if now >= next_cpu:
                next_cpu = now + cpu_every_s
                self._judge(self.sources.collector.busy())
            if now >= next_compare:
                next_compare = now + COMPARE_EVERY_S
                self._judge(self.sources.collector.compared())
            if now >= next_housekeeping:
                next_housekeeping = now + HOUSEKEEPING_EVERY_S
                self._keep_house()

    def close(self) -> None:
        """Take everything down, in the reverse order; no part keeps the others from it."""
        notify("STOPPING=1")
        if hasattr(self, "sink"):
            self.sink.notice("stopped", "firedamp has stopped")
        for part, close in reversed(self._closers):
            try:
                close()
            except (FiredampError, OSError) as error:
                log.get_logger().error("close_failed", part=part, error=str(error))
        self._epoll.close()

    def reload(self) -> None:
        """Load settings and policies anew; on any error those in force stay.

        Of the settings, `mode` and `policies` take effect; the others need a restart, and it is
        said which of them differ.

        Raises:
            ConfigError, PolicyError: with all that is wrong.
        """
        notify(f"WATCHDOG=1\nRELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            compiled = load_in_child(self._config_path, timeout_s=RELOAD_S)
            text = self._put_in_force(compiled)
        except (ConfigError, PolicyError) as error:
            self.sink.notice("reload_refused", f"the policies in force stay: {error}")
            raise
        finally:
            notify("READY=1\nWATCHDOG=1")
        self.sink.notice("reloaded", text, mode=self.settings.mode)

    def _put_in_force(self, compiled: Compiled) -> str:
        """Judge by these from the next event on; says what is in force now."""
        self.compiled = compiled
        new = compiled.settings
        self.settings = replace(self.settings, mode=new.mode, policies=new.policies)
        engine = Engine(compiled.policies, boot_id=self._boot_id, before=self.pipeline.engine)
        self.pipeline.use(engine)
        self.pipeline.host.indicators = compiled.indicators
        text = f"{len(compiled.policies)} policies are in force, mode {self.settings.mode}"
        waiting = [
            f.name for f in fields(new) if getattr(new, f.name) != getattr(self.settings, f.name)
        ]
        return text + (f"; needs a restart: {', '.join(waiting)}" if waiting else "")

    # ---- events to actions ------------------------------------------------------------------

    def _judge(self, events: Sequence[Event]) -> None:
        if self.recorders.on:
            self.recorders.write(events, self.pipeline.host)
        for event in events:
            self.counts["events"] += 1
            try:
                alerts = self.pipeline.feed(event)
            except Exception:  # noqa: BLE001 - one event must not end the watch; it is counted
                self.counts["not_judged"] += 1
                log.get_logger().exception("event_not_judged", kind=type(event).__name__)
                continue
            for alert in alerts:
                self._answer(alert)

    def _answer(self, alert: Alert) -> None:
        self.counts["alerts"] += 1
        decision = decide(alert, self.settings, self.pipeline.host)
        process = self.pipeline.host.tree.get(alert.process)
        self.sink.alert(alert, process, decision=decision)
        if decision is not None:
            self.executor.execute(self._respawners.extend(decision, self.pipeline.host))

    def _on_receipt(self, receipt: Receipt, decision: Decision | None) -> None:
        if decision is not None:
            self.sink.action(decision, receipt)
        else:
            log.get_logger().info(
                "action",
                action=receipt.action,
                outcome=receipt.outcome,
                target=receipt.target,
                reason=receipt.reason,
            )

    def _keep_house(self) -> None:
        for loss in self.sources.collector.losses():
            self._lost(loss)
        try:
            self.executor.tick()
        except FiredampError as error:
            log.get_logger().error("response_degraded", error=str(error))
        self._control.tick()
        self.recorders.tick()
        self.sink.flush()
        notify("WATCHDOG=1")
        if self._reload_wanted:
            self._reload_wanted = False
            with contextlib.suppress(ConfigError, PolicyError):  # told by reload itself
                self.reload()

    def _lost(self, loss: RecordsLost) -> None:
        self.counts["lost"] += loss.count
        self.sink.loss(loss)
        self.executor.hold([loss.kind])
        self._judge([loss])

    # ---- around it --------------------------------------------------------------------------

    def _open_control(self) -> ControlServer:
        path = control_socket(Path(self.settings.runtime_directory))
        control = ControlServer(path)
        register(control, self)
        control.open()
        self._closers.append(("control", control.close))
        return control

    def _tell_started(self) -> None:
        hooks = self.sources.hooks
        missing = [row["capability"] for row in hooks if row["state"] == "missing"]
        mode, policies = self.settings.mode, len(self.compiled.policies)
        text = f"firedamp watches with {policies} policies, mode {mode}"
        self.sink.notice("started", text, mode=mode, policies=policies)
        if missing:
            self.sink.notice("degraded", f"not seen on this host: {', '.join(missing)}")
        notify(f"READY=1\nSTATUS={text}")

    def _catch_signals(self) -> int:
        read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        signal.signal(signal.SIGHUP, self._on_signal)
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        return read

    def _on_signal(self, number: int, _frame: object) -> None:
        if number == signal.SIGHUP:
            self._reload_wanted = True
        else:
            self._stopping = True

    def _drain_wake_fd(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_fd, 64)
