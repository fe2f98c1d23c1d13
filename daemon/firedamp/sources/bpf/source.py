# SPDX-License-Identifier: Apache-2.0
"""The events of the kernel probes, in the order in which they happened."""

import mmap
import os
import struct
from collections.abc import Iterable
from operator import attrgetter

from firedamp.errors import DecodeError
from firedamp.events.decode import Decoded, decode
from firedamp.events.model import ConnectionFound, ProcessKey, RecordsLost
from firedamp.events.wire import Kind
from firedamp.sources.bpf.maps import BpfMap, DenyMap
from firedamp.sources.bpf.ring import Ring
from firedamp.sources.bpf.spawn import Loaded

# Pages, as probes/include/emit.h has them; the order in which they are read.
RINGS = {
    "tasks": 256,
    "execs": 1024,
    "connects": 2048,
    "payloads": 256,
    "dns": 128,
    "files": 32,
}
BATCH = 4096
"""Records taken from one ring at a time, so that no ring waits long for another's flood."""
_COUNT = struct.Struct("<Q")
_OWNER = struct.Struct("<QQI12x")
_SAMPLE_KEY = struct.Struct("<QII")
_at_ns = attrgetter("at_ns")


class BpfSource:
    """Reads every ring, and is the only user of the probes' maps."""

    def __init__(self, loaded: Loaded) -> None:
        fds = loaded.fds
        self.attempts = loaded.attempts
        self._loaded = loaded
        self._rings = [Ring(fds[f"map:{name}"], pages) for name, pages in RINGS.items()]
        self._dropped = mmap.mmap(
            fds["map:dropped"], mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_READ
        )
        self._reported = [0] * (max(Kind) + 1)
        self._malformed = 0
        self._owners = BpfMap(fds["map:owners"], 8, _OWNER.size)
        self._samples = BpfMap(fds["map:samples"], _SAMPLE_KEY.size, 8)
        self._watched = BpfMap(fds["map:watched"], 16, 1)
        self._watched_bits = BpfMap(fds["map:watched_bits"], 4, 8)
        self._scope_uids = BpfMap(fds["map:scope_uids"], 4, 1) if "map:scope_uids" in fds else None
        self.deny_map = DenyMap(fds["map:denied"])
        self._batch: list[Decoded] = []

    def filenos(self) -> tuple[int, ...]:
        """One descriptor for each ring."""
        return tuple(ring.fd for ring in self._rings)

    def read(self) -> tuple[list[Decoded], bool]:
        """A batch, oldest first; and whether more is waiting."""
        more = False
        for ring in self._rings:
            more |= ring.read(self._take, BATCH)
        batch, self._batch = self._batch, []
        batch.sort(key=_at_ns)
        return batch, more

    def _take(self, record: memoryview) -> None:
        try:
            self._batch.append(decode(record))
        except DecodeError:
            self._malformed += 1

    def losses(self, now_ns: int) -> list[RecordsLost]:
        """What the kernel could not put into a ring, and what could not be decoded."""
        lost = []
        for kind in Kind:
            (count,) = _COUNT.unpack_from(self._dropped, kind * 8)
            if count != self._reported[kind]:
                lost.append(_lost(now_ns, kind.name.lower(), count - self._reported[kind]))
                self._reported[kind] = count
        if self._malformed:
            lost.append(_lost(now_ns, "malformed", self._malformed))
            self._malformed = 0
        return lost

    def busy(self) -> list[tuple[ProcessKey, int]]:
        """Processes that were on a CPU when a sample was taken, with how often, since last."""
        found = []
        for key, value in self._samples.drain(8192):
            ticks, pid, _ = _SAMPLE_KEY.unpack(key)
            if pid:
                found.append((ProcessKey(pid, ticks), _COUNT.unpack(value)[0]))
        return found

    def adopt(self, connections: Iterable[ConnectionFound]) -> None:
        """Have packets of connections that were there before the probes find their owner."""
        for found in connections:
            if found.cookie and found.process.pid:
                key, ticks = _COUNT.pack(found.cookie), found.process.started_ticks
                if self._owners.get(key) is None:
                    self._owners.set(key, _OWNER.pack(ticks, 0, found.process.pid))

    def watch_inodes(
        self, added: Iterable[tuple[int, int]], removed: Iterable[tuple[int, int]]
    ) -> None:
        """Change the set of (device, inode) whose changes are reported."""
        for device, inode in removed:
            self._watched.delete(struct.pack("=QII", inode, device, 0))
        for device, inode in added:
            self._watched.set(struct.pack("=QII", inode, device, 0), b"\1")
            self._set_bit(inode)

    def _set_bit(self, inode: int) -> None:
        """Let an inode past the first look; bits of those that went only cost a second look."""
        index = struct.pack("=I", inode >> 6 & 1023)
        (bits,) = _COUNT.unpack(self._watched_bits.get(index) or bytes(8))
        self._watched_bits.set(index, _COUNT.pack(bits | 1 << (inode & 63)))

    def scope_uids(self, uids: Iterable[int]) -> None:
        """Limit the refusal of connects to these accounts."""
        if self._scope_uids is not None:
            for uid in uids:
                self._scope_uids.set(struct.pack("=I", uid), b"\1")

    def made(self) -> dict[str, int]:
        """Records made since the probes were loaded, lost ones included, by kind."""
        cpus = os.sysconf("SC_NPROCESSORS_CONF")
        table = BpfMap(self._loaded.fds["map:made"], 4, 8 * cpus)
        out = {}
        for kind in Kind:
            value = table.get(struct.pack("=I", kind)) or b""
            out[kind.name.lower()] = sum(n for (n,) in _COUNT.iter_unpack(value))
        return out

    def close(self) -> None:
        """Let go of the links: the kernel takes every probe out."""
        for ring in self._rings:
            ring.close()
        self._dropped.close()
        self._loaded.close()


def _lost(at_ns: int, kind: str, count: int) -> RecordsLost:
    return RecordsLost(at_ns=at_ns, process=ProcessKey(0, 0), source="bpf", kind=kind, count=count)
