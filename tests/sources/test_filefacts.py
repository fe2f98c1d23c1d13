# SPDX-License-Identifier: Apache-2.0
"""Facts about files, against what Python's own os.stat() says of them."""

import os

import pytest

from firedamp.sources import filefacts


@pytest.mark.parametrize("path", ["/etc/passwd", "/dev/shm", "/dev/null", "/proc/self/status"])
def test_facts_agree_with_stat(path):
    """
    A member read from the wrong offset would not.
    """
    facts = filefacts.of_path(path)
    stat = os.lstat(path)

    assert (facts.mode, facts.uid, facts.gid) == (stat.st_mode, stat.st_uid, stat.st_gid)
    assert (facts.inode, facts.link_count) == (stat.st_ino, stat.st_nlink)
    assert (facts.size, facts.device) == (stat.st_size, filefacts.kernel_device(stat.st_dev))
    if not path.startswith("/proc"):  # made up at each look
        assert (facts.modified_ns, facts.changed_ns) == (stat.st_mtime_ns, stat.st_ctime_ns)


def test_a_link_is_looked_at_itself(tmp_path):
    """
    Where it leads is another question, asked with a descriptor.
    """
    (tmp_path / "link").symlink_to("/etc/passwd")

    assert filefacts.of_path(str(tmp_path / "link")).is_symlink

    fd = os.open(tmp_path / "link", os.O_PATH)
    facts = filefacts.of_descriptor(fd)
    os.close(fd)
    assert facts.is_regular
    assert facts.inode == os.stat("/etc/passwd").st_ino


def test_what_is_missing_is_an_error_with_its_path(tmp_path):
    """
    As os.stat() would raise it.
    """
    with pytest.raises(FileNotFoundError, match="missing"):
        filefacts.of_path(str(tmp_path / "missing"))
