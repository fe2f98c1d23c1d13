# SPDX-License-Identifier: Apache-2.0
"""Joins what was found at the start with what the probes queued up meanwhile.

The probes are attached first, the look at the host comes second, and only then are the probes'
records read. So nothing falls between the two, and what both saw is told once:

Rule 1. A process that was found with the image of an exec that is queued was found after that
        exec, which says more than /proc does: the exec is told.
Rule 2. What was found comes before what was queued, so that parents are known before their
        children; a queued fork from before the look then only says who the parent really is.
Rule 3. A process that ended before the look at it was over is not told as running.
Rule 4. A connection that was found and is also queued is told by its record.
Rule 5. Names of users and cgroups come before all that may need them.

Pure: no input or output, no clock.
"""

from collections.abc import Iterable
from dataclasses import replace

from firedamp.events.model import (
    CgroupNamed,
    ConnectionFound,
    ConnectionOpened,
    Event,
    ProcessExecuted,
    ProcessExited,
    ProcessForked,
    ProcessFound,
    ProcessKey,
    UserNamed,
)

ConnectionName = tuple[int, ProcessKey | None, str, int]


def merge(found: Iterable[Event], queued: Iterable[Event]) -> list[Event]:
    """All that happened, each once, in an order in which it can be judged.

    `found` is what `procfs.snapshot()` and `sockdiag.connections()` gave, in their order;
    `queued` the records of the probes since they were attached, oldest first.
    """
    queued = list(queued)
    before: dict[ProcessKey, list[Event]] = {}
    opened: set[ConnectionName] = set()
    for event in queued:
        match event:
            case ProcessExecuted() | ProcessForked() | ProcessExited():
                before.setdefault(event.process, []).append(event)
            case ConnectionOpened():
                opened.add(_name(event))
    told: list[Event] = [event for event in queued if isinstance(event, UserNamed | CgroupNamed)]
    covered: set[int] = {id(event) for event in told}
    after: dict[int, ProcessFound] = {}
    for event in found:
        match event:
            case ProcessFound():
                _merge_process(event, before.get(event.process, []), told, after, covered)
            case ConnectionFound() if _name(event) in opened:
                pass
            case _:
                told.append(event)
    for event in queued:
        if id(event) not in covered:
            told.append(event)
        if id(event) in after:
            told.append(after[id(event)])
    return told


def _merge_process(
    process: ProcessFound,
    records: Iterable[Event],
    told: list[Event],
    after: dict[int, ProcessFound],
    covered: set[int],
) -> None:
    """Decide about one found process by its own records from before the end of the look."""
    earlier = [event for event in records if event.at_ns <= process.at_ns]
    execs = [event for event in earlier if isinstance(event, ProcessExecuted)]
    if any(isinstance(event, ProcessExited) for event in earlier):
        return
    if any(_image(event) == _image(process) for event in execs):
        return
    for event in earlier:
        if isinstance(event, ProcessForked):
            # To take it in after the process would make that a copy of its parent again.
            covered.add(id(event))
            process = replace(process, parent=event.parent)
    if execs:
        # It became yet another image, of which the record was lost: it comes last.
        after[id(execs[-1])] = process
    else:
        told.append(process)


def _image(event: ProcessExecuted) -> tuple[int, int]:
    return event.device, event.inode


def _name(event: ConnectionOpened) -> ConnectionName:
    """By its cookie; where a hook does not know that, by who connected to what."""
    if event.cookie:
        return event.cookie, None, "", 0
    return 0, event.process, event.address, event.port
