# SPDX-License-Identifier: Apache-2.0
"""What goes over the control socket: a line of JSON each way, then the connection ends.

{"verb": "status", "arguments": {}}          ->
                                             <- {"ok": true, "result": {…}}
                                             <- {"ok": false, "error": "only root may undo"}
"""

import json
from typing import Final

from firedamp.errors import DecodeError

MAX_REQUEST: Final = 64 << 10
MAX_RESPONSE: Final = 4 << 20

Arguments = dict[str, object]
Result = dict[str, object]


def request_line(verb: str, arguments: Arguments) -> bytes:
    return _line({"verb": verb, "arguments": arguments})


def result_line(result: Result) -> bytes:
    """The response to a request that was carried out.

    Raises:
        ValueError, TypeError: the result cannot be written as JSON.
    """
    line = _line({"ok": True, "result": result})
    if len(line) > MAX_RESPONSE:
        raise ValueError(f"the response would be larger than {MAX_RESPONSE} bytes")
    return line


def error_line(text: str) -> bytes:
    return _line({"ok": False, "error": text})


def parse_request(line: bytes) -> tuple[str, Arguments]:
    """The verb and its arguments.

    Raises:
        DecodeError: it is not a request.
    """
    message = parse(line)
    verb, arguments = message.get("verb"), message.get("arguments", {})
    if not isinstance(verb, str) or not isinstance(arguments, dict):
        raise DecodeError('not a request: {"verb": "…", "arguments": {…}} is one')
    return verb, arguments


def parse(line: bytes) -> dict[str, object]:
    """A line's JSON object.

    Raises:
        DecodeError: it is none, or nested deeper than the parser goes.
    """
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"not JSON that can be read: {error}") from error
    if not isinstance(message, dict):
        raise DecodeError("not a JSON object")
    return message


def _line(message: dict[str, object]) -> bytes:
    return json.dumps(message, separators=(",", ":"), allow_nan=False).encode() + b"\n"
