# SPDX-License-Identifier: Apache-2.0
"""A /proc that nobody can cover.

A process hides from every tool by a mount over its directory in /proc. A second instance of the
file system that is mounted nowhere has no place to mount on: all paths here are relative to it.
"""

import ctypes
import functools
import os

_SYS_FSOPEN = 430  # these numbers are the same on every architecture
_SYS_FSCONFIG = 431
_SYS_FSMOUNT = 432
_CLOEXEC = 1
_FSCONFIG_CMD_CREATE = 6


@functools.cache
def proc() -> int:
    """A directory descriptor for it, kept open for good.

    Where the kernel (before 5.2) or our rights do not allow that, of the /proc that is mounted.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    context = libc.syscall(_SYS_FSOPEN, b"proc", _CLOEXEC)
    if context >= 0:
        try:
            if libc.syscall(_SYS_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0) == 0:
                mount: int = libc.syscall(_SYS_FSMOUNT, context, _CLOEXEC, 0)
                if mount >= 0:
                    return mount
        finally:
            os.close(context)
    return os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def read(path: str, limit: int) -> bytes:
    """Empty where there is nothing to read, or nobody left to read it of."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc())
    except OSError:
        return b""
    try:
        return os.read(fd, limit)
    except OSError:
        return b""
    finally:
        os.close(fd)


def link(path: str) -> str:
    """What a symbolic link says; empty where there is none."""
    try:
        return os.readlink(path, dir_fd=proc())
    except OSError:
        return ""


def numbers(path: str) -> list[int]:
    """Entries of a directory that are numbers: PIDs, threads, descriptors."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=proc())
    except OSError:
        return []
    try:
        return [int(name) for name in os.listdir(fd) if name.isdecimal()]
    except OSError:
        return []
    finally:
        os.close(fd)
