# SPDX-License-Identifier: Apache-2.0
"""Taking files away and putting them back, by descriptor.

Rules:

1. A path is walked one component at a time without following any link, so what is reached is
   what the path says. Whatever is done after that is done through descriptors.
2. A name is removed only together with the inode that was meant: the name is first moved into
   a directory that nobody else can enter, and looked at there, where it cannot be swapped.
3. A file is put back complete (content, owner, mode, xattrs, times) before it gets its name,
   and the name is taken only if it is free.
"""

import array
import base64
import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypedDict

from firedamp.errors import ActionError

# linux/fs.h; the numbers are those of x86, arm, s390 and riscv.
_GETFLAGS, _SETFLAGS = 0x80086601, 0x40086602
APPEND_ONLY, IMMUTABLE = 0x20, 0x10
_LOCKS = APPEND_ONLY | IMMUTABLE
_SETTABLE = 0x000380FF
"""FS_FL_USER_MODIFIABLE: the flags that chattr may change."""

_HELD = "file"


class Metadata(TypedDict):
    """All of a file that is not its content or its name. JSON-serialisable."""

    mode: int
    uid: int
    gid: int
    size: int
    atime_ns: int
    mtime_ns: int
    flags: int
    """Inode flags (chattr); -1 where the file system has none."""
    xattrs: dict[str, str]
    """Base64; access control lists and capabilities are among them."""


@dataclass(frozen=True, slots=True)
class Place:
    """A name in an open directory. Owned by whoever asked for it: `close` it."""

    directory: int
    name: str

    def status(self) -> os.stat_result:
        return os.stat(self.name, dir_fd=self.directory, follow_symlinks=False)

    def close(self) -> None:
        os.close(self.directory)


def locate(path: str, root: str = "/") -> Place:
    """Open the directory of an absolute path below `root`, following no link on the way.

    Raises:
        OSError: some component is not there, or is a link, or is not a directory.
    """
    *parents, name = [part for part in path.split("/") if part]
    if not path.startswith("/") or "." in (name, *parents) or ".." in (name, *parents):
        raise OSError(errno.EINVAL, "not a plain absolute path", path)
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parents:
            below = os.open(
                part,
                os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC,
                dir_fd=fd,
            )
            os.close(fd)
            fd = below
    except BaseException:
        os.close(fd)
        raise
    return Place(fd, name)


def metadata(fd: int) -> Metadata:
    status = os.fstat(fd)
    return Metadata(
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        size=status.st_size,
        atime_ns=status.st_atime_ns,
        mtime_ns=status.st_mtime_ns,
        flags=inode_flags(fd),
        xattrs=_xattrs(fd),
    )


def apply_metadata(fd: int, data: Metadata) -> list[str]:
    """Make the file what it was, but for its inode flags: those come after its name.

    Returns what could not be brought back, in words: not every file system takes every xattr.
    """
    missing = []
    # In this order: a change of owner clears set-ID bits and capabilities; a change of mode
    # changes the mask of an access control list.
    os.fchown(fd, data["uid"], data["gid"])
    os.fchmod(fd, data["mode"])
    for name, value in data["xattrs"].items():
        try:
            os.setxattr(fd, name, base64.b64decode(value))
        except OSError as error:
            missing.append(f"{name}: {error.strerror}")
    os.utime(fd, ns=(data["atime_ns"], data["mtime_ns"]))
    return missing


def inode_flags(fd: int) -> int:
    """The flags that chattr shows; -1 where the file system has none."""
    flags = array.array("i", [0, 0])  # the kernel writes an int, though the number says long
    try:
        fcntl.ioctl(fd, _GETFLAGS, flags)
    except OSError:
        return -1
    return flags[0]


def set_inode_flags(fd: int, flags: int) -> None:
    """Set those flags that can be set to what they are in `flags`; -1 changes nothing."""
    now = inode_flags(fd)
    wanted = (now & ~_SETTABLE) | (flags & _SETTABLE)
    if flags != -1 and now not in (-1, wanted):
        fcntl.ioctl(fd, _SETFLAGS, array.array("i", [wanted, 0]))


def is_locked(fd: int) -> bool:
    """It is immutable or append-only."""
    flags = inode_flags(fd)
    return flags != -1 and bool(flags & _LOCKS)


def unlock(fd: int) -> None:
    """Make an immutable or append-only file an ordinary one."""
    if is_locked(fd):
        set_inode_flags(fd, inode_flags(fd) & ~_LOCKS)


@contextlib.contextmanager
def unlocked(directory: int) -> Iterator[None]:
    """While in here, the directory is neither immutable nor append-only."""
    flags = inode_flags(directory)
    unlock(directory)
    try:
        yield
    finally:
        set_inode_flags(directory, flags)


def take_away(place: Place, fd: int, private: str) -> None:
    """Remove the name if it names the open file `fd`, and leave it alone if not.

    `private` is a free name in the directory, for the directory that the file passes through;
    whoever finds it after a crash calls `finish_taking`.

    Raises:
        ActionError: the name belongs to something else by now.
        OSError: it cannot be removed. The file is where it was.
    """
    meant = os.fstat(fd)
    os.mkdir(private, 0o700, dir_fd=place.directory)
    inside = _enter(place, private)
    try:
        os.rename(place.name, _HELD, src_dir_fd=place.directory, dst_dir_fd=inside)
        if not os.path.samestat(_held(inside), meant):
            _put_back(inside, place)
            raise ActionError(f"{place.name} was exchanged for something else meanwhile")
        os.unlink(_HELD, dir_fd=inside)
    finally:
        os.close(inside)
        with contextlib.suppress(OSError):
            os.rmdir(private, dir_fd=place.directory)


def finish_taking(place: Place, private: str, device: int, inode: int) -> bool:
    """After a crash inside `take_away`: True if the file was taken, False if it is in place."""
    try:
        inside = _enter(place, private)
    except OSError:
        return not _is_inode(place, device, inode)
    try:
        held = _held(inside)
        if (held.st_dev, held.st_ino) == (device, inode):
            os.unlink(_HELD, dir_fd=inside)
        else:
            _put_back(inside, place)
    except FileNotFoundError:
        pass
    finally:
        os.close(inside)
        with contextlib.suppress(OSError):
            os.rmdir(private, dir_fd=place.directory)
    return not _is_inode(place, device, inode)


def put(place: Place, source: int, data: Metadata, private: str, *, replace: bool) -> list[str]:
    """Give the content of `source` the name, with all its metadata.

    `private` is the name of a directory to make it in; what an earlier attempt left there is
    removed. Returns what could not be brought back.

    Raises:
        FileExistsError: the name is taken, and `replace` is not set.
        OSError: it cannot be written; nothing is left behind.
    """
    with contextlib.suppress(FileExistsError):
        os.mkdir(private, 0o700, dir_fd=place.directory)
    inside = _enter(place, private)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_HELD, dir_fd=inside)
        fd = os.open(
            _HELD, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=inside
        )
        try:
            copy(source, fd)
            missing = apply_metadata(fd, data)
            os.fsync(fd)
            if replace:
                os.rename(_HELD, place.name, src_dir_fd=inside, dst_dir_fd=place.directory)
            else:
                os.link(_HELD, place.name, src_dir_fd=inside, dst_dir_fd=place.directory)
                os.unlink(_HELD, dir_fd=inside)
            set_inode_flags(fd, data["flags"])
        finally:
            os.close(fd)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(_HELD, dir_fd=inside)
        os.close(inside)
        os.rmdir(private, dir_fd=place.directory)
    return missing


def copy(source: int, target: int) -> None:
    """Append all of one file to another, from the source's start."""
    offset = 0
    while chunk := os.pread(source, 1 << 20, offset):
        offset += len(chunk)
        view = memoryview(chunk)
        while view:
            view = view[os.write(target, view) :]


def _enter(place: Place, private: str) -> int:
    fd = os.open(
        private, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place.directory
    )
    status = os.fstat(fd)
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        os.close(fd)
        raise OSError(errno.EPERM, "the private directory was exchanged", private)
    return fd


def _held(inside: int) -> os.stat_result:
    return os.stat(_HELD, dir_fd=inside, follow_symlinks=False)


def _put_back(inside: int, place: Place) -> None:
    """It was not what was meant. Its name may be taken again by now; then it gets another."""
    for name in (place.name, f"{place.name}.firedamp-kept"):
        try:
            os.stat(name, dir_fd=place.directory, follow_symlinks=False)
        except FileNotFoundError:
            os.rename(_HELD, name, src_dir_fd=inside, dst_dir_fd=place.directory)
            return


def _is_inode(place: Place, device: int, inode: int) -> bool:
    try:
        status = place.status()
    except FileNotFoundError:
        return False
    return (status.st_dev, status.st_ino) == (device, inode)


def _xattrs(fd: int) -> dict[str, str]:
    try:
        names = os.listxattr(fd)
    except OSError:
        return {}
    found = {}
    for name in names:
        with contextlib.suppress(OSError):
            found[name] = base64.b64encode(os.getxattr(fd, name)).decode("ascii")
    return found
