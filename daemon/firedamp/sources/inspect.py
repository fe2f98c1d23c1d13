# SPDX-License-Identifier: Apache-2.0
"""Facts that need a look at the host when an event comes: names of users and cgroups, hashes.

Rule 1. Each id is looked up once and told as an event of its own, ahead of the event that
        first carried it, so that a recording holds all that its replay needs.
Rule 2. No look-up leaves the machine: accounts come from the passwd file and not from NSS,
        which may ask a directory server.
"""

import os
import stat
import struct
import time
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from firedamp.events.model import CgroupNamed, Event, FileChanged, ProcessKey, UserNamed
from firedamp.sources.fanotify import open_by_handle
from firedamp.sources.filefacts import of_descriptor
from firedamp.sources.ownproc import proc
from firedamp.sources.procfs import NO_UID, process_key

MAX_IDS: Final = 65_536
MAX_HASHES: Final = 1024
MAX_HASHED_BYTES: Final = 256 << 20
RETRY_S: Final = 1.0
"""How often an unknown id may cause a file or a tree to be read again."""
_FILEID_KERNFS = 0xFE
_HANDLE = struct.Struct("=IiQ")
_BLOCK = 1 << 20


class Inspector:
    """Says the names of the UIDs and cgroup ids that events carry, each once."""

    def __init__(self, cgroup_root: str, accounts: str = "/etc/passwd") -> None:
        """`cgroup_root` is where cgroup v2 is mounted; empty: cgroups get no names."""
        self._accounts = Accounts(accounts)
        self._cgroups = Cgroups(cgroup_root) if cgroup_root else None
        self._accounts_file = accounts
        self._uids: set[int] = {NO_UID}
        self._cgroup_ids: set[int] = {0}

    def named(self, events: list[Event]) -> list[Event]:
        """The events, with the names that they are the first to need put before them."""
        told: list[Event] = []
        uids, cgroup_ids = self._uids, self._cgroup_ids
        for event in events:
            uid = getattr(event, "uid", NO_UID)
            if uid not in uids:
                told += self._user(event, uid)
            cgroup_id = getattr(event, "cgroup_id", 0)
            if cgroup_id not in cgroup_ids:
                told += self._cgroup(event, cgroup_id)
            told.append(event)
            if isinstance(event, FileChanged) and event.path == self._accounts_file:
                self._accounts.forget()
                uids.clear()
                uids.add(NO_UID)
        return told

    def close(self) -> None:
        if self._cgroups is not None:
            self._cgroups.close()

    def _user(self, event: Event, uid: int) -> Iterator[Event]:
        name = self._accounts.name(uid)
        if name is None:
            return
        _remember(self._uids, uid, NO_UID)
        yield UserNamed(at_ns=event.at_ns, process=event.process, uid=uid, name=name)

    def _cgroup(self, event: Event, cgroup_id: int) -> Iterator[Event]:
        path = self._cgroups.path(cgroup_id) if self._cgroups is not None else ""
        if path is None:
            return
        _remember(self._cgroup_ids, cgroup_id, 0)
        if path:
            yield CgroupNamed(
                at_ns=event.at_ns, process=event.process, cgroup_id=cgroup_id, path=path
            )


class Accounts:
    """Names by UID, from a passwd file that is read again when it has changed."""

    def __init__(self, passwd: str) -> None:
        self._path = passwd
        self._names: dict[int, str] = {}
        self._stamp: tuple[int, int, int] | None = None
        self._next_look = 0.0

    def name(self, uid: int) -> str | None:
        """None if there is no such account; a new one is noticed within `RETRY_S`."""
        found = self._names.get(uid)
        if found is not None or time.monotonic() < self._next_look:
            return found
        self._next_look = time.monotonic() + RETRY_S
        self._refresh()
        return self._names.get(uid)

    def forget(self) -> None:
        """Read the file again when next asked."""
        self._names, self._stamp, self._next_look = {}, None, 0.0

    def _refresh(self) -> None:
        try:
            # Not to wait for a writer, should it be a FIFO.
            fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(fd, "rb") as file:
                facts = os.fstat(file.fileno())
                stamp = (facts.st_ino, facts.st_mtime_ns, facts.st_size)
                if stamp == self._stamp or not stat.S_ISREG(facts.st_mode):
                    return
                lines = file.read().splitlines()
        except OSError:
            return
        self._stamp = stamp
        self._names = {}
        for line in lines:
            fields = line.split(b":")
            if len(fields) > 2 and fields[2].isdigit():
                # As getpwuid() does: of several accounts with one UID, the first.
                self._names.setdefault(int(fields[2]), os.fsdecode(fields[0]))


class Cgroups:
    """Paths below the cgroup v2 mount by cgroup id.

    The id is the file handle of the cgroup's directory, so that asking the kernel takes some
    microseconds, however many cgroups there are. Where it refuses that (without
    CAP_DAC_READ_SEARCH in the first user namespace), the tree is read, now and then.
    """

    def __init__(self, root: str) -> None:
        self._root = os.path.realpath(root)
        self._mount = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._read_paths: dict[int, str] = {}
        self._next_reading = 0.0

    def path(self, cgroup_id: int) -> str | None:
        """`/` for the root; empty for a cgroup that is gone; None if it is worth asking again."""
        try:
            fd = open_by_handle(self._mount, _HANDLE.pack(8, _FILEID_KERNFS, cgroup_id))
        except (PermissionError, NotImplementedError):
            return self._from_tree(cgroup_id)
        except OSError:
            return ""
        try:
            return self._below(os.readlink(f"/proc/self/fd/{fd}"))
        finally:
            os.close(fd)

    def close(self) -> None:
        os.close(self._mount)

    def _from_tree(self, cgroup_id: int) -> str | None:
        if cgroup_id not in self._read_paths and time.monotonic() >= self._next_reading:
            self._next_reading = time.monotonic() + RETRY_S
            self._read_paths = {
                os.stat(path).st_ino: self._below(path)
                for path, _, _ in os.walk(self._root)
                if os.path.isdir(path)
            }
        return self._read_paths.get(cgroup_id)

    def _below(self, path: str) -> str:
        return path.removeprefix(self._root) or "/"


class ImageHashes:
    """SHA-256 of what processes run, worked out once for each state of a file."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[int, int, int, int, int], str] = OrderedDict()

    def of_process(self, process: ProcessKey) -> str:
        """In hex; empty where the process is gone, or its image too large to be worth it.

        Reads the image itself, deleted or in memory only. Some 2 ms for each MiB.
        """
        try:
            fd = os.open(f"{process.pid}/exe", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc())
        except OSError:
            return ""
        try:
            if process_key(process.pid) != process:
                return ""
            return self._of_descriptor(fd)
        except OSError:
            return ""
        finally:
            os.close(fd)

    def _of_descriptor(self, fd: int) -> str:
        facts = of_descriptor(fd)
        if not facts.is_regular or facts.size > MAX_HASHED_BYTES:
            return ""
        # The time of change as well: that of modification can be set to anything.
        key = (facts.device, facts.inode, facts.size, facts.modified_ns, facts.changed_ns)
        known = self._known.pop(key, None)
        self._known[key] = known or _sha256(fd, facts.size)
        if len(self._known) > MAX_HASHES:
            self._known.popitem(last=False)
        return self._known[key]


def _sha256(fd: int, size: int) -> str:
    import hashlib  # noqa: PLC0415 - costs 3.7 MiB, which most days are not needed

    digest = hashlib.sha256()
    for offset in range(0, size, _BLOCK):
        digest.update(os.pread(fd, _BLOCK, offset))
    return digest.hexdigest()


def _remember(ids: set[int], new: int, always: int) -> None:
    if len(ids) >= MAX_IDS:
        ids.clear()
        ids.add(always)
    ids.add(new)
