# SPDX-License-Identifier: Apache-2.0
"""A command's end of the control socket."""

import socket
import struct
import time
from pathlib import Path

from firedamp import paths
from firedamp.control.protocol import MAX_RESPONSE, Result, parse, request_line
from firedamp.errors import ControlError, ControlUnavailable, DecodeError


def request(
    verb: str, /, *, at: Path | None = None, within_s: float = 10.0, **arguments: object
) -> Result:
    """Ask the daemon, and wait for what it says.

    Args:
        verb: what to do or to tell.
        at: the socket; None: where an installed daemon has it.
        within_s: how long to wait in all.
        arguments: the verb's own.

    Raises:
        ControlUnavailable: no daemon answers there, or not in time, or we may not ask it.
        ControlError: the daemon refused, or failed; the text is what it says.
    """
    path = at or paths.control_socket(paths.runtime_dir())
    until = time.monotonic() + within_s
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            # A queue that is full is waited for only by a blocking socket.
            limit = struct.pack("ll", int(within_s), int(within_s % 1 * 1e6))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
            connection.connect(str(path))
            connection.sendall(request_line(verb, arguments))
            line = _line(connection, until)
        except (TimeoutError, BlockingIOError):
            raise ControlUnavailable(f"no answer from the daemon in {within_s:g} s") from None
        except OSError as error:
            raise ControlUnavailable(f"no daemon at {path}: {error.strerror}") from error
    return _result(line, path)


def _line(connection: socket.socket, until: float) -> bytes:
    received = bytearray()
    while not received.endswith(b"\n"):
        connection.settimeout(max(0.001, until - time.monotonic()))
        chunk = connection.recv(1 << 16)
        received += chunk
        if not chunk or len(received) > MAX_RESPONSE:
            raise ConnectionResetError(0, "the connection was closed without an answer")
    return bytes(received)


def _result(line: bytes, path: Path) -> Result:
    try:
        response = parse(line)
    except DecodeError as error:
        raise ControlUnavailable(f"no firedamp at {path}: {error}") from error
    result = response.get("result")
    if response.get("ok") is not True or not isinstance(result, dict):
        raise ControlError(str(response.get("error", "the daemon did not say why")))
    return result
