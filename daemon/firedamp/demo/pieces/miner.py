# SPDX-License-Identifier: Apache-2.0
"""What a miner shows to the outside: it keeps a core busy, and logs in to a pool.

It mines nothing. It ends after a minute, or when whoever gives the cues is gone.
"""

import hashlib
import os
import socket
import threading
import time

LASTS_S = 60
THREADS = 4
POOL = ("203.0.113.7", 3333)
LOGIN = (
    b'{"id":1,"jsonrpc":"2.0","method":"login","params":{"login":"4'
    + b"DEMO" * 23
    + b'xx","pass":"x","agent":"XMRig/6.21.0 (Linux x86_64) libuv/1.44.2 gcc/12.2.0",'
    b'"algo":["rx/0","cn/r","cn/half"]}}\n'
)


def waste(ends: float) -> None:
    """Keep a core busy. The interpreter is let go while a text is digested, so that all work."""
    text = bytes(1 << 20)
    while time.monotonic() < ends:
        hashlib.sha512(text).digest()


def mine() -> None:
    """Log in when the cue comes, and waste time until the end."""
    ends = time.monotonic() + LASTS_S
    for _ in range(THREADS):
        threading.Thread(target=waste, args=(ends,), daemon=True).start()
    cue = os.open("cues/login", os.O_RDONLY)
    if os.read(cue, 1):
        with socket.create_connection(POOL, timeout=5) as pool:
            pool.sendall(LOGIN)
            time.sleep(max(0, ends - time.monotonic()))


if __name__ == "__main__":
    mine()
