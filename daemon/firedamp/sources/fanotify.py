# SPDX-License-Identifier: Apache-2.0
"""The kernel's fanotify interface as Python sees it: groups, marks, records. No judgement.

Objects are named by `FileId`: the file system's id and the file handle, as the kernel reports
them and as `file_id()` reads them for an open descriptor. Equal ids are the same inode, so
that whoever marked an object recognises it in a record without opening anything.
"""

import ctypes
import os
import struct
from dataclasses import dataclass
from typing import NoReturn

from firedamp.errors import DecodeError

FileId = bytes
"""File-system id (8 bytes), then struct file_handle."""

# What happened (mask bits of marks and of records).
MODIFY = 0x2
ATTRIB = 0x4
CLOSE_WRITE = 0x8
MOVED_FROM = 0x40
MOVED_TO = 0x80
CREATE = 0x100
DELETE = 0x200
DELETE_SELF = 0x400
MOVE_SELF = 0x800
Q_OVERFLOW = 0x4000
EVENT_ON_CHILD = 0x0800_0000
RENAME = 0x1000_0000
ONDIR = 0x4000_0000

# Flags of fanotify_init().
CLOEXEC = 0x1
NONBLOCK = 0x2
UNLIMITED_MARKS = 0x20
REPORT_PIDFD = 0x80
REPORT_FID = 0x200
REPORT_DIR_FID = 0x400
REPORT_NAME = 0x800
REPORT_TARGET_FID = 0x1000

NO_PIDFD = -1

_MARK_ADD = 0x1
_MARK_REMOVE = 0x2
_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_HANDLE_FID = 0x200
_MAX_HANDLE = 128
_METADATA = struct.Struct("=IBBHQii")
_METADATA_VERSION = 3
_INFO = struct.Struct("=BBH")
_HANDLE = struct.Struct("=II")
_INFO_FID = 1
_INFO_DFID_NAME = 2
_INFO_DFID = 3
_INFO_PIDFD = 4
_INFO_OLD_DFID_NAME = 10
_INFO_NEW_DFID_NAME = 12
_NAMED = frozenset({_INFO_DFID_NAME, _INFO_OLD_DFID_NAME, _INFO_NEW_DFID_NAME})
_FID_LIKE = _NAMED | {_INFO_FID, _INFO_DFID}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fanotify_init.argtypes = [ctypes.c_uint, ctypes.c_uint]
_libc.fanotify_mark.argtypes = [
    ctypes.c_int,
    ctypes.c_uint,
    ctypes.c_uint64,
    ctypes.c_int,
    ctypes.c_char_p,
]


@dataclass(frozen=True, slots=True)
class Entry:
    """A name in a directory. An empty name or "." is the directory itself."""

    directory: FileId
    name: str


@dataclass(slots=True)
class Record:
    """One report of the kernel, which may stand for several changes of one object."""

    mask: int
    pid: int
    """In our PID namespace; 0 where the process is not visible in it."""
    pidfd: int = NO_PIDFD
    """Owned by whoever reads the record; negative where the process is gone."""
    target: FileId = b""
    entry: Entry | None = None
    old: Entry | None = None
    new: Entry | None = None
    """A rename's two ends, each only if its directory is marked."""


class Group:
    """One fanotify queue with its marks on inodes."""

    def __init__(self, flags: int) -> None:
        fd = _libc.fanotify_init(flags | CLOEXEC | NONBLOCK, os.O_RDONLY | os.O_CLOEXEC)
        if fd < 0:
            _raise("fanotify_init")
        self._fd: int = fd

    def fileno(self) -> int:
        return self._fd

    def mark(self, fd: int, mask: int) -> None:
        """Report `mask` for the object that `fd` is open on; O_PATH is enough."""
        self._mark(_MARK_ADD, fd, mask)

    def unmark(self, fd: int, mask: int) -> None:
        self._mark(_MARK_REMOVE, fd, mask)

    def read(self, limit_bytes: int = 8192) -> list[Record]:
        """What has queued up, possibly nothing; never waits.

        Each record can hold an open pidfd, which is why a batch is small.

        Raises:
            DecodeError: the kernel's answer is not understood.
        """
        try:
            return parse(os.read(self._fd, limit_bytes))
        except BlockingIOError:
            return []

    def close(self) -> None:
        os.close(self._fd)

    def _mark(self, flags: int, fd: int, mask: int) -> None:
        # An O_PATH descriptor is refused as such, but not by the name that /proc gives it.
        path = b"/proc/self/fd/%d" % fd
        if _libc.fanotify_mark(self._fd, flags, mask, _AT_FDCWD, path) < 0:
            _raise("fanotify_mark")


def file_id(fd: int) -> FileId:
    """The id by which records name the object that `fd` (O_PATH is enough) is open on.

    Raises:
        OSError: its file system gives out no handles, so it cannot be watched either.
    """
    handle = ctypes.create_string_buffer(_HANDLE.size + _MAX_HANDLE)
    mount_id = ctypes.c_int()
    # A file system that cannot open by handle may still name by handle, if asked for that
    # alone; kernels before 6.5 do not know the question.
    for flags in (_AT_EMPTY_PATH | _AT_HANDLE_FID, _AT_EMPTY_PATH):
        _HANDLE.pack_into(handle, 0, _MAX_HANDLE, 0)
        if _libc.name_to_handle_at(fd, b"", handle, ctypes.byref(mount_id), flags) == 0:
            break
    else:
        _raise("name_to_handle_at")
    size, _ = _HANDLE.unpack_from(handle)
    fsid = os.statvfs(fd).f_fsid
    return struct.pack("=II", fsid & 0xFFFFFFFF, fsid >> 32) + handle.raw[: _HANDLE.size + size]


def open_by_handle(mount_fd: int, handle: bytes, flags: int = os.O_PATH) -> int:
    """A descriptor for what a struct file_handle names on the file system of `mount_fd`.

    It is found wherever that is mounted, and whatever it is called now.

    Raises:
        OSError: there is no such object any more, or not with our rights.
    """
    buffer = ctypes.create_string_buffer(handle, len(handle))
    fd: int = _libc.open_by_handle_at(mount_fd, buffer, flags | os.O_CLOEXEC)
    if fd < 0:
        _raise("open_by_handle_at")
    return fd


def parse(buffer: bytes) -> list[Record]:
    """The records in what one read() gave.

    Raises:
        DecodeError: a record does not have the form that it claims.
    """
    records = []
    offset = 0
    while offset < len(buffer):
        if len(buffer) - offset < _METADATA.size:
            raise DecodeError(f"fanotify record of {len(buffer) - offset} bytes has no header")
        length, version, _, header, mask, _, pid = _METADATA.unpack_from(buffer, offset)
        if version != _METADATA_VERSION:
            raise DecodeError(f"fanotify record of unknown version {version}")
        if header < _METADATA.size or length < header or offset + length > len(buffer):
            raise DecodeError(f"fanotify record claims {header} of {length} bytes")
        record = Record(mask, pid)
        _parse_infos(record, buffer[offset + header : offset + length])
        records.append(record)
        offset += length
    return records


def _parse_infos(record: Record, infos: bytes) -> None:
    offset = 0
    while offset < len(infos):
        if len(infos) - offset < _INFO.size:
            raise DecodeError("fanotify information record has no header")
        kind, _, length = _INFO.unpack_from(infos, offset)
        if length < _INFO.size or offset + length > len(infos):
            raise DecodeError(f"fanotify information record claims {length} bytes")
        body = infos[offset + _INFO.size : offset + length]
        if kind in _FID_LIKE:
            _take_fid(record, kind, body)
        elif kind == _INFO_PIDFD:
            if len(body) < 4:
                raise DecodeError("fanotify pidfd record is truncated")
            (record.pidfd,) = struct.unpack_from("=i", body)
        offset += length


def _take_fid(record: Record, kind: int, body: bytes) -> None:
    if len(body) < 8 + _HANDLE.size:
        raise DecodeError("fanotify identity record is truncated")
    size, _ = _HANDLE.unpack_from(body, 8)
    end = 8 + _HANDLE.size + size
    if end > len(body):
        raise DecodeError(f"fanotify file handle claims {size} bytes")
    identity = body[:end]
    if kind == _INFO_FID:
        record.target = identity
        return
    name = body[end:].partition(b"\0")[0] if kind in _NAMED else b""
    entry = Entry(identity, os.fsdecode(name))
    if kind == _INFO_OLD_DFID_NAME:
        record.old = entry
    elif kind == _INFO_NEW_DFID_NAME:
        record.new = entry
    else:
        record.entry = entry


def _raise(call: str) -> NoReturn:
    number = ctypes.get_errno()
    raise OSError(number, f"{call}: {os.strerror(number)}")
