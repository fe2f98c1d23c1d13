# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable

import pytest

from firedamp.alerts.ecs import Origin
from firedamp.context.process import Process
from firedamp.events.model import Event, ProcessKey
from firedamp.policy.types import Alert, Decision, Level, Mode, PolicySummary

MINER = ProcessKey(4711, 90_000)
SHELL = ProcessKey(4700, 89_000)
LOGIN = {
    "Image": "/tmp/.x/kswapd0",
    "ProcessName": "kswapd0",
    "CommandLine": "./kswapd0 -o pool",
    "ProcessId": 4711,
    "User": "www-data",
    "ParentImage": "/usr/bin/dash",
    "ParentProcessId": 4700,
    "Protocol": "stratum-monero",
    "Method": "login",
    "DestinationIp": "203.0.113.7",
    "DestinationPort": 3333,
}


@pytest.fixture
def process() -> Process:
    """The miner that everything here is about."""
    return Process(
        key=MINER,
        parent=SHELL,
        actor=SHELL,
        image="/tmp/.x/kswapd0",
        argv=("./kswapd0", "-o", "pool"),
        comm="kswapd0",
        uid=33,
    )


@pytest.fixture
def alert() -> Callable[..., Alert]:
    """An alert on a Stratum login; fields can be given to be other than that."""

    def make(category: str = "mining_protocol", fields: dict[str, object] | None = None, **other):
        values = {
            "at_ns": 3_600_000_000_000,
            "policy": PolicySummary(
                id="0f2d0000-0000-4000-8000-000000000000",
                title="Process speaks the Stratum mining protocol",
                level=Level.CRITICAL,
                status="stable",
                tags=("attack.impact", "attack.t1496.001"),
                response=("freeze", "kill"),
            ),
            "category": category,
            "event": Event(at_ns=3_600_000_000_000, process=MINER),
            "process": MINER,
            "actor": SHELL,
            "incident": "3f2a",
            "fields": tuple((LOGIN if fields is None else fields).items()),
        }
        return Alert(**(values | other))

    return make


@pytest.fixture
def decide() -> Callable[..., Decision]:
    """A decision that comes of an alert."""

    def make(alert: Alert, mode: Mode = "observe"):
        return Decision(
            alert=alert,
            actions=("freeze", "kill"),
            mode=mode,
            target=alert.process,
            related=(),
            addresses=(("203.0.113.7", 3333),),
            files=(),
            reason=alert.policy.title,
        )

    return make


@pytest.fixture
def origin() -> Origin:
    """A host that was started at midnight."""
    return Origin(host_name="web1", host_id="f" * 32, clock_offset_ns=1_795_392_000_000_000_000)
