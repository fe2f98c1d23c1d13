# SPDX-License-Identifier: Apache-2.0
"""A corner of this machine in which anything may happen, and a daemon that acts nowhere else.

    a directory    holds a file tree that stands for the host's, and all else that is written
    a cgroup       holds every process that is started on the stage
    a namespace    is the network of those and of the daemon
    another one    is the internet: a pool at an address that exists nowhere else

All of it is gone when the stage is closed, and the processes too when we are killed.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Self

from firedamp.demo.cell import Cell, path_of
from firedamp.demo.mop import Mop
from firedamp.demo.network import POOL, Namespace, join
from firedamp.demo.pool import Pool
from firedamp.demo.watcher import Document, Watcher

ADMIN_KEY: Final = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFRoZUFkbWluaXN0cmF0b3JzT3duS2V5 admin\n"
_FILES: Final = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\n",
    "etc/crontab": "17 * * * * root run-parts /etc/cron.hourly\n",
    "etc/cron.d/backup": "30 3 * * * root /usr/local/bin/backup\n",
    "root/.ssh/authorized_keys": ADMIN_KEY,
}
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Stage:
    """Set up on entering, taken down on leaving.

    Raises:
        OSError: this machine does not let us; the text says what is missing.
    """

    def __init__(self, name: str = "firedamp-demo") -> None:
        self._name = name
        self._started: list[subprocess.Popen[bytes]] = []
        self._watchers = 0
        self.directory: Path
        self.root: Path
        """Stands for the host's / in `watch.roots`."""
        self.cell: Cell
        self.server: Namespace
        self.internet: Namespace
        self.pool: Pool

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.directory = Path(tempfile.mkdtemp(prefix=f"{self._name}-", dir=_place()))
            stack.callback(Mop(path_of(self.directory.name), self.directory).close)
            stack.callback(shutil.rmtree, self.directory)
            self.root = self.directory / "root"
            for path, text in _FILES.items():
                file = self.root / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
            self.server = stack.enter_context(Namespace())
            self.internet = stack.enter_context(Namespace())
            join(self.server, self.internet)
            self.pool = self.internet.run(Pool, POOL)
            stack.callback(self.pool.close)
            stack.callback(self._reap)
            self.cell = stack.enter_context(Cell(self.directory.name))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def watcher(self, **settings: Any) -> Watcher:
        """A daemon that acts on this stage alone, not started yet; stopped with the stage.

        `settings` are laid over those that limit it, as maps.
        """
        self._watchers += 1
        limits: dict[str, Any] = {
            "scope": {"cgroups": [self.cell.scope]},
            "watch": {"roots": [str(self.root)]},
        }
        watcher = Watcher(
            self.directory / f"firedamp-{self._watchers}",
            namespace=self.server,
            settings={**limits, **settings},
        )
        self._stack.callback(watcher.stop)
        return watcher

    def spawn(
        self, *argv: str | Path, env: Mapping[str, str] | None = None, stdout: int | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a program in the cgroup, the network and the directory of the stage.

        What it says goes to `stage.log` in the directory, unless `stdout` asks for a pipe.
        """
        return self.server.run(self._spawn, self.cell.command(*map(str, argv)), env, stdout)

    def start_service(self, *argv: str | Path, env: Mapping[str, str] | None = None) -> int:
        """Start a program as PID 1 starts services: it is nobody's child but PID 1's.

        A daemon that is started later sees no login above it. Returns its PID.
        """
        fork = ("/bin/sh", "-c", 'setsid "$@" >/dev/null & echo $!', "sh")
        process = self.spawn(*fork, *argv, env=env, stdout=subprocess.PIPE)
        pid, _ = process.communicate(timeout=10)
        return int(pid)

    def concerns(self, document: Document) -> bool:
        """It is about a process or a file of this stage: the daemon tells of all the host."""
        return self.directory.name in json.dumps(document)

    def _spawn(
        self, command: list[str], env: Mapping[str, str] | None, stdout: int | None
    ) -> subprocess.Popen[bytes]:
        with open(self.directory / "stage.log", "ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log if stdout is None else stdout,
                stderr=log,
                cwd=self.directory,
                env={"PATH": PATH, "LANG": "C.UTF-8", **(env or {})},
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def _reap(self) -> None:
        """Our children are dead by now; let their process entries go as well."""
        self.server.settle()
        for process in self._started:
            if process.stdout is not None:
                process.stdout.close()
            process.wait()


def _place() -> str:
    """A directory for everybody, as droppers like them, from which programs can be run.

    Raises:
        OSError: there is none.
    """
    for place in (tempfile.gettempdir(), "/var/tmp", "/dev/shm"):  # noqa: S108 - mkdtemp is safe
        if os.path.isdir(place) and not os.statvfs(place).f_flag & os.ST_NOEXEC:
            return place
    raise OSError("no temporary directory lets programs run: all are mounted noexec")


def real_interpreter() -> Path:
    """The file that this Python runs from, whatever links and environments lead to it."""
    return Path("/proc/self/exe").readlink()
