# SPDX-License-Identifier: Apache-2.0
"""What the daemon answers on its control socket."""

import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING

from firedamp import __version__
from firedamp.control.protocol import Arguments, Result
from firedamp.control.server import ControlServer
from firedamp.errors import ControlError
from firedamp.response.undo import Selection

if TYPE_CHECKING:
    from firedamp.service import Service


def register(server: ControlServer, service: "Service") -> None:
    """Offer every verb; those that change something are for root alone."""
    verbs = Verbs(service)
    server.register("status", verbs.status)
    server.register("doctor", verbs.doctor)
    server.register("reload", verbs.reload, acts=True)
    server.register("undo", verbs.undo, acts=True)
    server.register("rearm", verbs.rearm, acts=True)
    server.register("record", verbs.record, acts=True)
    server.register("record-stop", verbs.record_stop, acts=True)
    server.register("record-state", verbs.record_state)


class Verbs:
    """One method a verb."""

    def __init__(self, service: "Service") -> None:
        self._service = service

    def status(self, _arguments: Arguments) -> Result:
        """All that one screen shows."""
        service = self._service
        pipeline = service.pipeline
        hooks = service.sources.hooks
        return {
            "version": __version__,
            "mode": service.settings.mode,
            "uptime_s": round(time.time() - service.started_s),
            "policies": len(service.compiled.policies),
            "policies_digest": service.compiled.policies.digest,
            "policies_inapplicable": len(service.compiled.policies.inapplicable),
            "processes": len(pipeline.host.tree),
            "counts": dict(service.counts),
            "alerts_suppressed": pipeline.engine.suppressed,
            "correlations_evicted": pipeline.engine.evicted,
            "records_made": service.sources.bpf.made(),
            "hooks": {row["capability"]: row["state"] for row in hooks},
            "breaker_tripped": service.executor.breaker.tripped,
            "outputs": service.sink.status(),
            "max_rss_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        }

    def doctor(self, _arguments: Arguments) -> Result:
        """Each capability, its hook, and what that cannot see."""
        return {"hooks": self._service.sources.hooks}

    def reload(self, _arguments: Arguments) -> Result:
        """Put new policies in force, or say why not."""
        self._service.reload()
        return {"policies": len(self._service.compiled.policies)}

    def undo(self, arguments: Arguments) -> Result:
        """Take back an action, an incident, or all since a time."""
        selection = Selection.from_arguments(arguments)
        receipts = self._service.executor.undo(
            selection,
            force=bool(arguments.get("force")),
            dry_run=bool(arguments.get("dry_run")),
        )
        return {"receipts": [receipt.to_json() for receipt in receipts]}

    def rearm(self, _arguments: Arguments) -> Result:
        """Let policies act again after a person has looked."""
        executor = self._service.executor
        was_tripped = executor.breaker.tripped
        if was_tripped:
            executor.reset_breaker()
        return {"was_tripped": was_tripped}

    def record(self, arguments: Arguments) -> Result:
        """Write the live stream to a new file for a while."""
        path, seconds, max_mb = (arguments.get(one) for one in ("path", "seconds", "max_mb"))
        if not (isinstance(path, str) and path.startswith("/")):
            raise ControlError("path: an absolute path is wanted")
        if not (isinstance(seconds, int) and isinstance(max_mb, int)):
            raise ControlError("seconds and max_mb: numbers are wanted")
        return self._service.recorders.start(Path(path), seconds=seconds, max_mb=max_mb)

    def record_stop(self, _arguments: Arguments) -> Result:
        """End the recording that was asked for."""
        return self._service.recorders.stop()

    def record_state(self, _arguments: Arguments) -> Result:
        """How that recording goes, or went."""
        return self._service.recorders.state()
