# SPDX-License-Identifier: Apache-2.0
import dataclasses

from firedamp.analysis.lineage import ancestor_images
from firedamp.context.host import HostContext
from firedamp.context.process import NO_LOGIN
from firedamp.events.model import Event, ProcessExecuted, ProcessExited, ProcessKey


def executed(pid: int, parent: int, image: str) -> ProcessExecuted:
    """A process runs a program."""
    known: dict[str, object] = {
        field.name: () if field.name == "argv" else "" if field.type == "str" else 0
        for field in dataclasses.fields(ProcessExecuted)
    }
    known |= {
        "process": ProcessKey(pid, pid), "parent": ProcessKey(parent, parent), "image": image,
        "loginuid": NO_LOGIN, "at_ns": pid, "argv_cut": False,
    }  # fmt: skip
    return ProcessExecuted(**known)


def test_ancestors_are_told_from_the_nearest_on():
    """
    Each program once, the process's own not among them; also when one of them has ended.
    """
    host = HostContext()
    for pid, parent, image in [
        (1, 0, "/usr/lib/systemd/systemd"),
        (10, 1, "/usr/bin/dpkg"),
        (11, 10, "/usr/bin/dash"),
        (12, 11, "/usr/bin/dash"),
        (13, 12, "/usr/bin/perl"),
    ]:
        host.observe(executed(pid, parent, image))
    host.observe(ProcessExited(at_ns=20, process=ProcessKey(11, 11), exit_code=0, cpu_ns=0))

    images = ancestor_images(host.observe(Event(at_ns=21, process=ProcessKey(13, 13))))

    assert images == ("/usr/bin/dash", "/usr/bin/dpkg", "/usr/lib/systemd/systemd")


def test_process_without_known_ancestors_has_none():
    """
    Nothing is made up for a process that was never seen.
    """
    observed = HostContext().observe(Event(at_ns=1, process=ProcessKey(5, 5)))

    assert ancestor_images(observed) is None
