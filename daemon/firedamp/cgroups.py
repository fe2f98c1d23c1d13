# SPDX-License-Identifier: Apache-2.0
"""Where cgroup v2 is mounted."""

from pathlib import Path


def cgroup2_mount(mounts: Path = Path("/proc/self/mounts")) -> str:
    """The first cgroup v2 mount point of our mount namespace; empty where there is none."""
    for line in mounts.read_text().splitlines():
        fields = line.split()
        if len(fields) > 2 and fields[2] == "cgroup2":
            return fields[1].replace("\\040", " ")
    return ""
