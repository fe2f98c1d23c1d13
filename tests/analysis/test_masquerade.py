# SPDX-License-Identifier: Apache-2.0
"""Kernel threads that are none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firedamp.analysis.masquerade import imitation, masquerade


@pytest.mark.parametrize(
    "name",
    ["kworker/0:0", "kworker/u8:2+flush-254:0", "kworker", "kswapd0", "kswapd", "ksoftirqd/1",
     "kdevtmpfs", "khugepaged", "kthreadd", "migration/0", "rcu_sched", "scsi_eh_0", "jbd2/sda1-8",
     "irq/24-pciehp", "xfsaild/sda1", "[kworker/1:2]", "ext4-rsv-conver", "kcompactd0",
     "pool_workqueue_"],
)  # fmt: skip
def test_kernel_threads_are_known_by_name(name):
    """
    With the numbers that the kernel appends, and cut where the kernel cuts.
    """
    assert imitation(name) == "kernel_thread"


@pytest.mark.parametrize(
    "name",
    ["kswaped", "kdevtmpfsi", "kthrotlds", "khugepageds", "kthreaddi", "kworkerds", "kwroker",
     "/tmp/kdevtmpfsi", "./kswaped", "ksoftirqds", "kworker0:0x"],
)  # fmt: skip
def test_names_one_letter_off_are_near(name):
    """
    As families are known to spell them.
    """
    assert imitation(name) == "near_kernel_thread"


@pytest.mark.parametrize(
    "name",
    ["auditd", "kblocks", "kubelet", "kwalletd5", "kmod", "ksmtuned", "kexec", "kcmp", "kernel",
     "watchdogd", "md", "lockd", "nfsd", "rsync", "bash", "[", "", " ", "loop", "netns",
     "writeback", "/", "kinit", "kded5", "klogd", "kafka", "kong", "kopia", "irqbalance",
     "migrate", "k3s", "migration",
     "migration/run.sh", "irq/setup", "./kworker/bin/start", "cpuhp", "migrations",
     "systemd-journal", "postgres: writer", "/usr/bin/kmod", "python3", "ksh", "kdump-tools"],
)  # fmt: skip
def test_programs_are_not_near(name):
    """
    Programs that people run, some of them with names that begin like a kernel thread's.
    """
    assert imitation(name) is None


@pytest.mark.parametrize(
    ("known", "disguise"),
    [
        ({"image": "/tmp/x", "comm": "x", "argv": ("[kworker/0:0]",)}, "kernel_thread"),
        ({"image": "/tmp/kswapd0", "comm": "kswapd0", "argv": ("./kswapd0",)}, "kernel_thread"),
        ({"image": "/tmp/kdevtmpfsi", "comm": "kdevtmpfsi"}, "near_kernel_thread"),
        ({"image": "/usr/bin/perl", "comm": "perl", "argv": ("[bioset]",)}, "bracketed"),
        ({"image": "/usr/bin/perl", "comm": "perl", "argv": ("perl", "[kworker/0:0]")}, None),
        ({"image": "/usr/bin/[", "comm": "[", "argv": ("[", "-f", "x", "]")}, None),
        ({"image": "/usr/bin/python3", "argv": ("[celeryd: celery@web:MainProcess]",)}, None),
        ({"image": "/usr/bin/test", "argv": ()}, None),
        ({"image": "", "comm": "kworker/0:0"}, None),
    ],
)
def test_disguise_needs_an_image(observed, known, disguise):
    """
    A kernel thread runs no file; whoever has one and such a name is none.
    """
    assert masquerade(observed(**known)) == disguise


@given(st.text(max_size=40))
def test_any_name_can_be_judged(name):
    """
    Processes choose their names freely.
    """
    assert imitation(name) in {None, "kernel_thread", "near_kernel_thread"}
