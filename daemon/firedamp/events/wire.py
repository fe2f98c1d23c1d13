# SPDX-License-Identifier: Apache-2.0
"""ctypes mirrors of probes/include/wire.h, member for member, in the same order.

The mirrors are what the layout test compares with the header, and what `events.decode` takes
its formats from; records themselves are unpacked with `struct`, which is several times faster.
"""

import ctypes
from enum import IntEnum

PATH_LEN = 1024
FILENAME_LEN = 512
ARGV_LEN = 4096
DATA_LEN = 1024

EXEC_ARGV_CUT = 1
EXEC_PATH_CUT = 2
CONNECT_DENIED = 1
OUT = 0


class Kind(IntEnum):
    """enum wire_kind."""

    EXEC = 1
    FORK = 2
    EXIT = 3
    RENAME = 4
    CONNECT = 5
    PAYLOAD = 6
    DNS = 7
    FILE = 8


class Header(ctypes.Structure):
    """What every record starts with."""

    c_name = "wire_header"
    _fields_ = (
        ("at_ns", ctypes.c_uint64),
        ("started_ticks", ctypes.c_uint64),
        ("pid", ctypes.c_uint32),
        ("kind", ctypes.c_uint16),
        ("size", ctypes.c_uint16),
    )


class Exec(ctypes.Structure):
    """A process replaced its image; the tail is image, filename, cwd, argv."""

    c_name = "wire_exec"
    _fields_ = (
        ("header", Header),
        ("parent_started_ticks", ctypes.c_uint64),
        ("inode", ctypes.c_uint64),
        ("cgroup_id", ctypes.c_uint64),
        ("parent_pid", ctypes.c_uint32),
        ("device", ctypes.c_uint32),
        ("link_count", ctypes.c_uint32),
        ("mode", ctypes.c_uint32),
        ("image_uid", ctypes.c_uint32),
        ("uid", ctypes.c_uint32),
        ("gid", ctypes.c_uint32),
        ("loginuid", ctypes.c_uint32),
        ("mount_ns", ctypes.c_uint32),
        ("pid_ns", ctypes.c_uint32),
        ("net_ns", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("image_len", ctypes.c_uint16),
        ("filename_len", ctypes.c_uint16),
        ("cwd_len", ctypes.c_uint16),
        ("argv_len", ctypes.c_uint16),
        ("comm", ctypes.c_char * 16),
    )


class Fork(ctypes.Structure):
    """A process came to be; the header is the child's."""

    c_name = "wire_fork"
    _fields_ = (
        ("header", Header),
        ("parent_started_ticks", ctypes.c_uint64),
        ("cgroup_id", ctypes.c_uint64),
        ("parent_pid", ctypes.c_uint32),
        ("uid", ctypes.c_uint32),
        ("comm", ctypes.c_char * 16),
    )


class Exit(ctypes.Structure):
    """The last thread of a process ended."""

    c_name = "wire_exit"
    _fields_ = (
        ("header", Header),
        ("cpu_ns", ctypes.c_uint64),
        ("exit_code", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
    )


class Rename(ctypes.Structure):
    """A process took another name without an exec."""

    c_name = "wire_rename"
    _fields_ = (
        ("header", Header),
        ("old_comm", ctypes.c_char * 16),
        ("comm", ctypes.c_char * 16),
    )


class Connect(ctypes.Structure):
    """A process asked for a connection, or sent its first datagram to an address."""

    c_name = "wire_connect"
    _fields_ = (
        ("header", Header),
        ("cookie", ctypes.c_uint64),
        ("cgroup_id", ctypes.c_uint64),
        ("address", ctypes.c_uint8 * 16),
        ("uid", ctypes.c_uint32),
        ("port", ctypes.c_uint16),
        ("protocol", ctypes.c_uint8),
        ("flags", ctypes.c_uint8),
    )


class Payload(ctypes.Structure):
    """A segment of a connection's start, or a DNS message; the tail is the data."""

    c_name = "wire_payload"
    _fields_ = (
        ("header", Header),
        ("cookie", ctypes.c_uint64),
        ("address", ctypes.c_uint8 * 16),
        ("sequence", ctypes.c_uint32),
        ("length", ctypes.c_uint32),
        ("port", ctypes.c_uint16),
        ("data_len", ctypes.c_uint16),
        ("protocol", ctypes.c_uint8),
        ("direction", ctypes.c_uint8),
        ("pad", ctypes.c_uint16),
    )


class File(ctypes.Structure):
    """A watched inode became dirty."""

    c_name = "wire_file"
    _fields_ = (
        ("header", Header),
        ("inode", ctypes.c_uint64),
        ("device", ctypes.c_uint32),
        ("uid", ctypes.c_uint32),
    )


Mirror = type[Header | Exec | Fork | Exit | Rename | Connect | Payload | File]
MIRRORS: tuple[Mirror, ...] = (Header, Exec, Fork, Exit, Rename, Connect, Payload, File)
