# SPDX-License-Identifier: Apache-2.0
"""Processes that call themselves what they are not: kernel threads.

`Masquerade` looks at the two names a process chooses itself, its first argument and its command
name. A kernel thread runs no file; so whoever has an image and such a name is none.

    kernel_thread        the name is that of a kernel thread
    near_kernel_thread   the name is one letter off, or goes on where a kernel thread's ends
    bracketed            the first argument is put in brackets, as ps shows kernel threads

Blind spots: disguise as an ordinary program (`rsync`, `sshd`); a bind mount over /proc/PID, which
fools people who look and not us; the names of a process's other threads.
"""

import re
from functools import lru_cache

from firedamp.analysis.base import FieldValue
from firedamp.context.process import Observed

# Names that no program has a reason to take, without the numbers that tell one from another.
# Left out on purpose: lockd, loop, md, netns, nfsd, watchdogd, writeback and others that programs
# or people use in earnest.
KERNEL_THREADS = frozenset(
    (
        "ext4-rsv-conver", "inet_frag_wq", "ipv6_addrconf", "kauditd", "kblockd", "kcompactd",
        "kcryptd", "kdevtmpfs", "khugepaged", "khungtaskd", "kintegrityd", "kpsmoused", "ksmd",
        "ksoftirqd", "kstrp", "kswapd", "kthreadd", "kthrotld", "kworker", "mm_percpu_wq",
        "oom_reaper", "pool_workqueue_release", "rcu_bh", "rcu_gp", "rcu_par_gp", "rcu_preempt",
        "rcu_sched", "rcu_tasks_kthread", "scsi_eh", "scsi_tmf", "slub_flushwq", "zswap-shrink",
    )
)  # fmt: skip
# Those that the kernel runs once for each CPU, device or interrupt; without what stands behind
# the slash, `migration` is a program that many projects have.
_NUMBERED = re.compile(
    r"(?:cpuhp|idle_inject|ksoftirqd|ktimers|migration|rcuc|rcuo[bps]|watchdog)/\d+"
    r"|kworker/u?\d+:\d.*|irq/\d+-.+|jbd2/[^/]+-\d+|xfsaild/[^/]+"
)
# Names that are worth being imitated, and far enough from any program's: one letter off from
# kblockd is a game, from kauditd a daemon (which begins with another letter, and is let through).
IMITATED = (
    "kauditd", "kcompactd", "kdevtmpfs", "khugepaged", "khungtaskd", "kintegrityd", "ksoftirqd",
    "kswapd", "kthreadd", "kthrotld", "kworker", "oom_reaper",
)  # fmt: skip
_NUMBER = re.compile(r"_?\d+$")
_COMM_LEN = 15


def masquerade(observed: Observed) -> FieldValue:
    """What the process poses as; None where it poses as nothing, or runs no file."""
    process = observed.process
    if not process.image:
        return None
    by_argument = _first_argument(process.argv[0]) if process.argv else None
    by_name = imitation(process.comm)
    for disguise in ("kernel_thread", "near_kernel_thread", "bracketed"):
        if disguise in {by_argument, by_name}:
            return disguise
    return None


def _first_argument(argument: str) -> str | None:
    """A program may put its path there, or a title; a lone `[` is the test command."""
    words = argument.strip()
    if len(words) > 2 and words[0] == "[" and words[-1] == "]" and " " not in words:
        return imitation(words[1:-1]) or "bracketed"
    return imitation(words)


@lru_cache(maxsize=4096)
def imitation(name: str) -> str | None:
    """Judge one name; a path by its last part, unless a kernel thread has just that name."""
    name = name.strip().strip("[]")
    if _NUMBERED.fullmatch(name):
        return "kernel_thread"
    if "/" in name:
        return imitation(name.rsplit("/", 1)[1])
    base = _NUMBER.sub("", name)
    if base in KERNEL_THREADS or name in KERNEL_THREADS or _is_cut(name):
        return "kernel_thread"
    if any(_is_near(each, target) for target in IMITATED for each in (base, name)):
        return "near_kernel_thread"
    return None


def _is_cut(name: str) -> bool:
    """The kernel cuts names at 15 letters, its own threads' too."""
    return len(name) == _COMM_LEN and any(
        known.startswith(name) for known in KERNEL_THREADS if len(known) > _COMM_LEN
    )


def _is_near(name: str, target: str) -> bool:
    if name[:1] != target[:1] or name == target:
        return False
    if target == "kworker" and name.startswith(target):
        return True
    return _one_edit_apart(name, target)


def _one_edit_apart(one: str, other: str) -> bool:
    """One letter was added, left out or changed, or two neighbours were swapped."""
    if abs(len(one) - len(other)) > 1:
        return False
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    rest, other_rest = one[start:], other[start:]
    return (
        rest[1:] == other_rest
        or rest == other_rest[1:]
        or rest[1:] == other_rest[1:]
        or (rest[:2] == other_rest[:2][::-1] and rest[2:] == other_rest[2:])
    )
