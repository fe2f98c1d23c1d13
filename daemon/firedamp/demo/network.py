# SPDX-License-Identifier: Apache-2.0
"""Two network namespaces joined by a cable: a server, and an internet with a mining pool in it.

    server  198.51.100.2 ──── 198.51.100.1  internet, where 203.0.113.7 (the pool) is

The addresses are those set aside for documentation; they exist nowhere else. The pool is neither
on loopback, nor an address of the server, nor its gateway: all of those are never blocked.
"""

import ctypes
import os
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, Self, TypeVar

SERVER: Final = "198.51.100.2"
GATEWAY: Final = "198.51.100.1"
POOL: Final = "203.0.113.7"

_CLONE_NEWNET: Final = 0x40000000  # linux/sched.h

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Namespace:
    """A network namespace, and a thread that lives in it.

    It has no name anywhere: it is gone when the thread and all that was started from it have
    ended, however they ended.
    """

    def __init__(self) -> None:
        """Make a namespace that has nothing in it but a loopback interface, which is down.

        Raises:
            OSError: the kernel gives us none.
        """
        self._thread = ThreadPoolExecutor(max_workers=1)
        try:
            self.path = self.run(_enter_new)
        except OSError:
            self.close()
            raise

    def run(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Call a function in there: sockets that it makes and processes it starts stay there."""
        return self._thread.submit(function, *args, **kwargs).result()

    def settle(self) -> None:
        """Wait for what was asked of it: a caller that was interrupted did not."""
        self.run(lambda: None)

    def close(self) -> None:
        """Let the thread go."""
        self._thread.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def join(server: Namespace, internet: Namespace) -> None:
    """Lay the cable, and give both ends their addresses.

    Raises:
        OSError: `ip` is missing, or the kernel has no veth; the text says so.
    """
    server.run(
        _ip,
        "link set lo up",
        f"link add eth0 type veth peer name eth0 netns {internet.path}",
        f"address add {SERVER}/24 dev eth0",
        "link set eth0 up",
    )
    internet.run(
        _ip,
        "link set lo up",
        f"address add {GATEWAY}/24 dev eth0",
        f"address add {POOL}/32 dev lo",
        "link set eth0 up",
    )
    server.run(_ip, f"route add default via {GATEWAY}")


def _enter_new() -> str:
    """Put this thread into a new namespace; returns a path by which others can name it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"a network namespace cannot be made: {os.strerror(number)}")
    return f"/proc/{os.getpid()}/task/{threading.get_native_id()}/ns/net"


def _ip(*commands: str) -> None:
    done = subprocess.run(
        ["/usr/bin/env", "ip", "-batch", "-"],
        input="\n".join(commands) + "\n",
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise OSError(f"the demo's network cannot be set up: {done.stderr.strip()}")
