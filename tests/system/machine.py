# SPDX-License-Identifier: Apache-2.0
"""A Debian of its own, booted in a container, with systemd as PID 1 and no network but loopback.

Mounts and cgroups are its own; what the host mounts is not changed.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

SUITE = "bookworm"
COMMANDS = ("mmdebstrap", "systemd-nspawn", "unshare", "nsenter", "dpkg-deb")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "firedamp"
BOOT_S = 60.0
T = TypeVar("T")
_SYSTEM_CALLS = "bpf perf_event_open fanotify_init fanotify_mark open_by_handle_at"
_ENVIRONMENT = (
    "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG=C.UTF-8",
    "DEBIAN_FRONTEND=noninteractive",
)
# A cgroup2 mount of its own, since a container that sees only a hybrid one boots another way.
# The group lies beside the host's own, and goes when the container has ended.
_START = r"""
umount -R /sys/fs/cgroup 2>/dev/null
mount -t cgroup2 cgroup2 /sys/fs/cgroup || exit 1
group="/sys/fs/cgroup/$1"
mkdir "$group" || exit 1
(
    echo "$BASHPID" > "$group/cgroup.procs"
    export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
    exec systemd-nspawn -q --boot --register=no --keep-unit --private-network --console=pipe \
        --capability=all --system-call-filter="$3" --machine="$1" -D "$2"
)
find "$group" -depth -type d -exec rmdir {} +
"""


def missing() -> str:
    """What this host lacks to boot one; empty where it lacks nothing."""
    if os.geteuid() != 0:
        return "needs root"
    absent = [one for one in COMMANDS if shutil.which(one) is None]
    return f"needs {', '.join(absent)}" if absent else ""


def image(packages: Sequence[str]) -> Path:
    """An archive of a Debian with these packages, kept from one run to the next.

    The distribution's archive is asked only here.
    """
    key = hashlib.sha256(" ".join([SUITE, *sorted(packages)]).encode()).hexdigest()[:16]
    kept = CACHE / f"{SUITE}-{key}.tar"
    if not kept.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            made = Path(scratch) / "image.tar"
            options = ["--variant=minbase", "--dpkgopt=force-unsafe-io", "--quiet"]
            include = f"--include={','.join(packages)}"
            subprocess.run(["mmdebstrap", *options, include, SUITE, made], check=True)
            made.rename(kept)
    return kept


def children(pid: int) -> list[int]:
    """The processes that one has started and that still run."""
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def wait_for(look: Callable[[], T], what: str, *, seconds: float = 30.0) -> T:
    """What is looked for, as soon as it is there."""
    until = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < until, f"{what}: not within {seconds:g} s"
        time.sleep(0.2)
    return found


class Machine:
    """One that runs, until `close`."""

    def __init__(self, archive: Path) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="firedamp-machine-", dir="/var/tmp"))
        try:
            subprocess.run(["tar", "-xf", archive, "-C", self.root], check=True)
            self._boot()
        except BaseException:
            shutil.rmtree(self.root)
            raise

    def run(self, *command: str, check: bool = True) -> str:
        """What a command in there says, as root."""
        done = subprocess.run(
            ["nsenter", "-t", str(self._leader), "-a", "env", "-i", *_ENVIRONMENT, *command],
            capture_output=True,
            text=True,
            check=False,
        )
        said = f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}"
        assert not check or done.returncode == 0, said
        return done.stdout

    def write(self, path: str, text: str) -> None:
        """Put a file in there."""
        inside = self.root / path.lstrip("/")
        inside.parent.mkdir(parents=True, exist_ok=True)
        inside.write_text(text)

    def close(self) -> None:
        """Switch it off, and remove it."""
        self.run("systemctl", "poweroff", check=False)
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._pull_the_plug()
        shutil.rmtree(self.root)

    # ---- private ----------------------------------------------------------------------------

    def _boot(self) -> None:
        name = self.root.name.replace("_", "-")
        start = ["bash", "-c", _START, "start", name, str(self.root), _SYSTEM_CALLS]
        self._process = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", *start],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        try:
            self._leader = wait_for(self._find_leader, "container", seconds=BOOT_S)
            wait_for(self._is_up, "boot", seconds=BOOT_S)
        except BaseException:
            self._pull_the_plug()
            raise

    def _find_leader(self) -> int:
        assert self._process.poll() is None, "the container does not start"
        for nspawn in children(self._process.pid):
            for leader in children(nspawn):
                if Path(f"/proc/{leader}/comm").read_text() == "systemd\n":
                    return leader
        return 0

    def _is_up(self) -> bool:
        state = self.run("systemctl", "is-system-running", check=False).strip()
        return state in {"running", "degraded"}

    def _pull_the_plug(self) -> None:
        # The container's first process is bound to its maker, and takes all others along.
        for nspawn in children(self._process.pid):
            os.kill(nspawn, signal.SIGKILL)
        self._process.wait(timeout=30)
