# SPDX-License-Identifier: Apache-2.0
"""What the daemon costs, as ratios of paired runs: with it, without it, in turn.

Absolute times mean little on shared machines; ratios taken in one run mean more. Both cores of
a small machine are kept busy by two copies of a storm, so that the daemon's work cannot hide on an
idle one; one copy alone is what a script that starts programs in a row notices.

Usage: python -m tests.bench [ROUNDS]    (root; the daemon observes, with the shipped policies)
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STORMS = {
    "execs in a row": ("exec", 4000, 1),
    "exec": ("exec", 4000, 2),
    "connect": ("connect", 100_000, 2),
    "write": ("write", 400_000, 2),
}
"""By name: the step, how many of it, in how many copies at once."""
TARGETS = {"execs in a row": 1.05, "exec": 1.05, "connect": 1.25, "write": 1.03}
IDLE_S = 20
REST_CPU_S = 0.03
"""CPU time in half a second that counts as having nothing left to do."""
_ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Print the table; always 0, since a figure is not a verdict on a shared machine."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    ratios: dict[str, list[float]] = {name: [] for name in STORMS}
    costs: dict[str, list[float]] = {name: [] for name in STORMS}
    with tempfile.TemporaryDirectory(prefix="firedamp-bench-") as scratch:
        directory = Path(scratch)
        storms = directory / "storms"
        subprocess.run(
            ["cc", "-O2", "-o", storms, Path(__file__).with_name("storms.c")], check=True
        )
        for number in range(rounds):
            with_daemon: dict[str, float] = {}
            alone: dict[str, float] = {}
            for watched in (True, False) if number % 2 else (False, True):
                if watched:
                    with_daemon = _watched(storms, directory / str(number), costs, number == 0)
                else:
                    alone = {name: _run(storms, *storm) for name, storm in STORMS.items()}
            for name in STORMS:
                ratios[name].append(with_daemon[name] / alone[name])
    for name in STORMS:
        print(
            f"{name:14} storm: slow-down {statistics.median(ratios[name]):.3f} "
            f"({min(ratios[name]):.3f} to {max(ratios[name]):.3f}), target {TARGETS[name]}; "
            f"daemon {statistics.median(costs[name]):.1f} us CPU a step"
        )
    return 0


def _watched(
    storms: Path, directory: Path, costs: dict[str, list[float]], is_first: bool
) -> dict[str, float]:
    """Each storm with a daemon of its own watching; what it cost goes into `costs`."""
    times = {}
    directory.mkdir()
    with _daemon(directory) as pid:
        if is_first:
            print_idle(pid)
        for name, (step, count, copies) in STORMS.items():
            before = cpu_s(pid)
            times[name] = _run(storms, step, count, copies)
            _await_rest(pid)  # what lies in the rings is part of the cost, and of no other storm's
            costs[name].append((cpu_s(pid) - before) / (copies * count) * 1e6)
        if is_first:
            print_memory(pid, "memory after the storms")
        for entry in (directory / "state" / "alerts.jsonl").read_text().splitlines():
            if '"loss"' in entry:
                print(f"LOST: {entry[:200]}")
    return times


def _run(storms: Path, step: str, count: int, copies: int) -> float:
    """Nanoseconds a step, of the slowest copy."""
    started = [
        subprocess.Popen([storms, step, str(count)], stdout=subprocess.PIPE, text=True)
        for _ in range(copies)
    ]
    return max(float(copy.communicate()[0]) for copy in started)


def _await_rest(pid: int) -> None:
    """Wait until the daemon has worked off what it was given."""
    before = -1.0
    while (now := cpu_s(pid)) - before > REST_CPU_S:
        before = now
        time.sleep(0.5)


def print_idle(pid: int) -> None:
    """CPU and memory while nothing happens."""
    time.sleep(3)
    before = cpu_s(pid)
    time.sleep(IDLE_S)
    share = (cpu_s(pid) - before) / IDLE_S * 100
    print(f"idle: {share:.2f} % of a core over {IDLE_S} s, target 0.25")
    print_memory(pid, "memory at rest")


def print_memory(pid: int, when: str) -> None:
    """Proportional set size of the daemon and its children."""
    parts = {one: pss_mib(one) for one in family(pid)}
    print(f"{when}: {sum(parts.values()):.1f} MiB PSS in {len(parts)} processes, target 80")


def family(pid: int) -> list[int]:
    """The process and its children, as the kernel lists them."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


def pss_mib(pid: int) -> float:
    """Proportional set size."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def cpu_s(pid: int) -> float:
    """CPU time of the daemon and its children so far."""
    total = 0
    for one in family(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


@contextmanager
def _daemon(directory: Path) -> Iterator[int]:
    config = directory / "firedamp.yaml"
    config.write_text(
        json.dumps(
            {
                "state_directory": str(directory / "state"),
                "runtime_directory": str(directory / "run"),
                "alerts": {"journal": "no"},
            }
        )
    )
    child = subprocess.Popen(
        [sys.executable, "-I", "-m", "firedamp", "run", "--config", config],
        cwd=_ROOT,
        stdout=subprocess.DEVNULL,
    )
    try:
        alerts = directory / "state" / "alerts.jsonl"
        while not (alerts.exists() and "started" in alerts.read_text()):
            if child.poll() is not None:
                sys.exit("the daemon did not start")
            time.sleep(0.1)
        yield child.pid
    finally:
        child.terminate()
        child.wait(30)


if __name__ == "__main__":
    sys.exit(main())
