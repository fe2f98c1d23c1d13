# SPDX-License-Identifier: Apache-2.0
"""One host's memory in pieces that another memory can take in.

For a recording that begins in the middle: what happens next is about processes, sockets and
names that were seen before.
"""

from collections.abc import Iterator

from firedamp.context.host import HostContext
from firedamp.context.process import Process
from firedamp.events.model import UNKNOWN_PROCESS, CgroupNamed, DnsAnswered, Event, UserNamed

Known = Event | Process


def known(host: HostContext) -> Iterator[Known]:
    """All that is remembered, but for the dead who left nobody behind."""
    nobody = UNKNOWN_PROCESS
    for cgroup_id, path in host.cgroups.items():
        yield CgroupNamed(at_ns=0, process=nobody, cgroup_id=cgroup_id, path=path)
    for uid, name in host.users.items():
        yield UserNamed(at_ns=0, process=nobody, uid=uid, name=name)
    yield from host.tree.remembered()
    yield from host.sockets.remembered()
    for address, resolved in host.names.remembered():
        yield DnsAnswered(
            at_ns=0,
            process=nobody,
            name=resolved.name,
            record_type="",
            response_code="NOERROR",
            addresses=(address,),
            aliases=resolved.aliases,
        )


def adopt(host: HostContext, one: Known) -> None:
    """Remember it, as if it had been seen; nobody judges it."""
    if isinstance(one, Process):
        host.tree.adopt(one)
    else:
        host.observe(one)
