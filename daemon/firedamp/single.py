# SPDX-License-Identifier: Apache-2.0
"""One daemon for a runtime directory.

Two would take each other's frozen processes for leftovers and each other's blocks for gone.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from firedamp.errors import ConfigError


@contextlib.contextmanager
def only_one(runtime_directory: str) -> Iterator[None]:
    """Hold the lock; the kernel lets go of it when we end, however that is.

    Raises:
        ConfigError: another daemon holds it, or the directory cannot be made.
    """
    directory = Path(runtime_directory)
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        lock = os.open(directory / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"runtime_directory: {directory}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise ConfigError(f"another firedamp holds {directory / 'lock'}") from None
    finally:
        os.close(lock)
