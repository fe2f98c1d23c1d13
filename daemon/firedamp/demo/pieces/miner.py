# SPDX-License-Identifier: Apache-2.0
"""What a miner shows to the outside: it keeps a core busy, and logs in to a pool.

It mines nothing. It ends after a minute, or when whoever gives the cues is gone.
"""

import hashlib
import os
import socket
import time

POOL = ("203.0.113.7", 3333)
LOGIN = (
    b'{"id":1,"jsonrpc":"2.0","method":"login","params":{"login":"4'
    + b"DEMO" * 23
    + b'xx","pass":"x","agent":"XMRig/6.21.0 (Linux x86_64) libuv/1.44.2 gcc/12.2.0",'
    b'"algo":["rx/0","cn/r","cn/half"]}}\n'
)


def mine() -> None:
    """Waste time until the cue comes, log in, and waste time until the end."""
    ends = time.monotonic() + 60
    cue = os.open("cues/login", os.O_RDONLY | os.O_NONBLOCK)
    connections: list[socket.socket] = []
    block = b"firedamp"
    while time.monotonic() < ends:
        for _ in range(20_000):
            block = hashlib.sha256(block).digest()
        try:
            told = os.read(cue, 1)
        except BlockingIOError:
            continue
        if not told:
            return
        connections.append(socket.create_connection(POOL, timeout=5))
        connections[-1].sendall(LOGIN)


if __name__ == "__main__":
    os.nice(10)  # the machine has other work to do
    mine()
