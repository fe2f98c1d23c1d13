# SPDX-License-Identifier: Apache-2.0
"""The keeper: lets frozen processes go on when the daemon is no more.

It is run by its path (`python -I -S keeper_process.py FD`), knows nothing of the rest of the
package, and imports only modules that are compiled into the interpreter: so small that it can
stay for as long as the daemon does. `response.keeper` is its other end.

A message is one byte and a list of process keys: `+` take these into care, their pidfds come
with the message; `-` forget these. End of file means that the daemon died, however it died,
or that it is done: then whatever is still in care gets SIGCONT, and the keeper ends. It is
started with every signal blocked, so only SIGKILL ends it before.
"""

import _signal  # type: ignore[import-not-found] # signal and socket would cost 1.4 MiB for their enumerations
import _socket
import os
import struct
import sys

KEY = struct.Struct("=IQ")
MOST_KEYS = 200
"""In one message; the kernel passes at most 253 descriptors in one."""

_FD = struct.Struct("=i")
_LONGEST = 1 + MOST_KEYS * KEY.size


def main(fd: int) -> None:
    # Whatever leaked into it, a probe's link for one, must not outlive the daemon.
    os.closerange(fd + 1, os.sysconf("SC_OPEN_MAX"))
    channel = _socket.socket(fileno=fd)
    held: dict[tuple[int, int], int] = {}
    while _serve(channel, held):
        pass
    for pidfd in held.values():
        try:
            _signal.pidfd_send_signal(pidfd, _signal.SIGCONT)
        except OSError:
            continue  # it ended meanwhile


def _serve(channel: _socket.socket, held: dict[tuple[int, int], int]) -> bool:
    space = _socket.CMSG_SPACE(MOST_KEYS * _FD.size)
    try:
        message, ancillary, _, _ = channel.recvmsg(_LONGEST, space)
    except ConnectionResetError:
        return True  # the error is told before what is still queued
    pidfds = [fd for _, _, data in ancillary for (fd,) in _FD.iter_unpack(data)]
    keys = list(KEY.iter_unpack(message[1:]))
    if message[:1] == b"+":
        for key, pidfd in zip(keys, pidfds, strict=False):
            _drop(held, key)
            held[key] = pidfd
    else:
        for key in keys:
            _drop(held, key)
    return bool(message)


def _drop(held: dict[tuple[int, int], int], key: tuple[int, int]) -> None:
    pidfd = held.pop(key, -1)
    if pidfd >= 0:
        os.close(pidfd)


if __name__ == "__main__":
    main(int(sys.argv[1]))
