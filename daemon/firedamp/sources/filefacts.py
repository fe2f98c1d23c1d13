# SPDX-License-Identifier: Apache-2.0
"""One system call that tells all about a file, in the terms in which probes tell it.

os.stat() gives neither the attributes (`chattr +i`) nor the device as the kernel's own
structures have it: on btrfs each subvolume has a st_dev of its own, which no probe ever sees.
"""

import ctypes
import os
import stat
import struct
from typing import NamedTuple

IMMUTABLE = 0x10
APPEND_ONLY = 0x20

_AT_EMPTY_PATH = 0x1000
_AT_SYMLINK_NOFOLLOW = 0x100
_AT_NO_AUTOMOUNT = 0x800
_AT_FDCWD = -100
_BASIC_STATS_AND_MOUNT = 0x7FF | 0x1000
_MAX_DEVICES = 1024
# Of struct statx: attributes; nlink, uid, gid, mode, ino, size; ctime; mtime; dev; mnt_id.
_STATX = struct.Struct("=8x Q III H 2x Q Q 48x qI4x qI4x 8x II Q")
_STATX_SIZE = 256

_libc = ctypes.CDLL(None, use_errno=True)
_devices: dict[tuple[int, int, int], int] = {}


class FileFacts(NamedTuple):
    mode: int
    uid: int
    gid: int
    link_count: int
    device: int
    """As the kernel encodes it: major << 20 | minor."""
    inode: int
    size: int
    modified_ns: int
    changed_ns: int
    attributes: int
    """STATX_ATTR_* bits; IMMUTABLE and APPEND_ONLY among them."""

    @property
    def is_regular(self) -> bool:
        return stat.S_ISREG(self.mode)

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_symlink(self) -> bool:
        return stat.S_ISLNK(self.mode)


def of_descriptor(fd: int) -> FileFacts:
    """Facts about what `fd` (O_PATH is enough) is open on.

    Raises:
        OSError: as statx(2).
    """
    return _statx(fd, b"", _AT_EMPTY_PATH | _AT_NO_AUTOMOUNT)


def of_path(path: str) -> FileFacts:
    """Facts about a path; of a symbolic link, about the link itself.

    Raises:
        OSError: as statx(2).
    """
    return _statx(_AT_FDCWD, os.fsencode(path), _AT_SYMLINK_NOFOLLOW | _AT_NO_AUTOMOUNT)


def kernel_device(st_dev: int) -> int:
    """A device number of os.stat() as the kernel encodes it."""
    return os.major(st_dev) << 20 | os.minor(st_dev)


def _statx(fd: int, path: bytes, flags: int) -> FileFacts:
    buffer = ctypes.create_string_buffer(_STATX_SIZE)
    if _libc.statx(fd, path, flags, _BASIC_STATS_AND_MOUNT, buffer) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), os.fsdecode(path) or f"descriptor {fd}")
    attributes, *basic, changed_s, changed_ns, modified_s, modified_ns, major, minor, mount = (
        _STATX.unpack_from(buffer)
    )
    link_count, uid, gid, mode, inode, size = basic
    return FileFacts(
        mode=mode,
        uid=uid,
        gid=gid,
        link_count=link_count,
        device=_superblock_device(mount, major, minor),
        inode=inode,
        size=size,
        modified_ns=modified_s * 1_000_000_000 + modified_ns,
        changed_ns=changed_s * 1_000_000_000 + changed_ns,
        attributes=attributes,
    )


def _superblock_device(mount: int, major: int, minor: int) -> int:
    device = major << 20 | minor
    if major:
        return device
    # Only file systems without a block device of their own can show two numbers.
    key = (mount, major, minor)
    if key not in _devices:
        if len(_devices) >= _MAX_DEVICES:
            _devices.clear()
        _devices[key] = _mounted_device(mount) or device
    return _devices[key]


def _mounted_device(mount: int) -> int | None:
    wanted = b"%d" % mount
    with open("/proc/self/mountinfo", "rb") as mounts:
        for line in mounts:
            number, _, device, _ = line.split(b" ", 3)
            if number == wanted:
                major, minor = device.split(b":")
                return int(major) << 20 | int(minor)
    return None
