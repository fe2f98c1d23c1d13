# SPDX-License-Identifier: Apache-2.0
"""Tells alerts as the daemon does, at the command of a test.

Reads commands from standard input, one a line, and answers each with a line of JSON.
"""

import json
import sys

from firedamp import log
from firedamp.alerts.sink import Sink
from firedamp.context.process import Process
from firedamp.events.model import Event, ProcessKey
from firedamp.policy.types import Alert, Decision, Level, PolicySummary
from firedamp.settings import Alerts, Settings

KEY = ProcessKey(4711, 90_000)
PROCESS = Process(key=KEY, image="/tmp/.x/kswapd0", comm="kswapd0", uid=33)
POLICY = PolicySummary(
    id="0f2d0000-0000-4000-8000-000000000000",
    title="Process speaks the Stratum mining protocol",
    level=Level.CRITICAL,
    status="stable",
    tags=("attack.t1496.001",),
    response=("freeze", "kill"),
)


def alert(command_line: str) -> Alert:
    """An alert on a Stratum login by a process with this command line."""
    fields = {
        "Image": PROCESS.image,
        "ProcessName": PROCESS.comm,
        "User": "www-data",
        "CommandLine": command_line,
        "Method": "login",
        "Protocol": "stratum-monero",
        "DestinationIp": "203.0.113.7",
        "DestinationPort": 3333,
    }
    return Alert(
        at_ns=1,
        policy=POLICY,
        category="mining_protocol",
        event=Event(at_ns=1, process=KEY),
        process=KEY,
        actor=KEY,
        incident="3f2a",
        fields=tuple(fields.items()),
    )


def decide(one: Alert) -> Decision:
    """To freeze and kill, if it were enforced."""
    return Decision(
        alert=one,
        actions=("freeze", "kill"),
        mode="observe",
        target=KEY,
        related=(),
        addresses=(),
        files=(),
        reason=POLICY.title,
    )


def main() -> None:
    """Answer until there are no more commands."""
    sink = Sink(Settings(alerts=Alerts(journal="yes", file=sys.argv[1])))
    log.set_up(journal=sink.journal)
    for line in sys.stdin:
        command, _, rest = line.strip().partition(" ")
        if command == "alert":
            one = alert(rest)
            sink.alert(one, PROCESS, decision=decide(one))
        elif command == "burst":
            for number in range(int(rest)):
                sink.alert(alert(f"burst {number}"), PROCESS)
        elif command == "large":
            sink.alert(alert("x" * int(rest)), PROCESS)
        elif command == "log":
            log.get_logger().warning("records_lost", source="bpf", lost=3)
        sink.flush()
        print(json.dumps(sink.status()), flush=True)


if __name__ == "__main__":
    main()
