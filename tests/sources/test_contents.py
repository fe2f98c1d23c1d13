# SPDX-License-Identifier: Apache-2.0
"""Which lines of a file are new."""

import os
import time

import pytest

from firedamp.sources.contents import (
    GONE_MEMORY_S,
    LINE_MEMORY_S,
    MAX_ADDED_CHARS,
    MAX_ADDED_LINES,
    MAX_FILE_BYTES,
    MAX_LINE_CHARS,
    MAX_LINES_GONE,
    Contents,
    Look,
)
from firedamp.sources.filefacts import of_descriptor


@pytest.fixture
def path(tmp_path):
    """
    A file to look at.
    """
    return tmp_path / "file"


def look(contents: Contents, path: os.PathLike[str]) -> Look:
    """Look as the watch does."""
    fd = os.open(path, os.O_PATH)
    try:
        return contents.look(str(path), fd, of_descriptor(fd))
    finally:
        os.close(fd)


def test_lines_of_a_new_file_are_all_new(path):
    """
    In their order, each once; blank ones say nothing.
    """
    path.write_text("a\n\n  \nb\na\n")

    assert look(Contents(), path) == Look(is_changed=True, added=("a", "b"))


def test_only_lines_that_were_not_there_are_new(path):
    """
    Wherever they are put; what was moved or removed is not news.
    """
    contents = Contents()
    path.write_text("a\nb\nc\n")
    look(contents, path)
    path.write_text("c\nnew\na\n")

    assert look(contents, path) == Look(is_changed=True, added=("new",))


def test_an_unchanged_file_is_unchanged(path):
    """
    A close after a write that was looked at is no second change.
    """
    contents = Contents()
    path.write_text("a\n")
    look(contents, path)

    assert look(contents, path) == Look(is_changed=False)


def test_the_end_of_a_large_file_is_looked_at(path):
    """
    That is where lines are added; padding does not hide them.
    """
    contents = Contents()
    path.write_text("# padding\n" * (MAX_FILE_BYTES // 5))
    look(contents, path)
    with path.open("a") as file:
        file.write("evil\n")

    assert look(contents, path).added == ("evil",)


def test_a_long_line_keeps_its_beginning_and_its_end(path):
    """
    The command and what it is piped to; the key and its comment.
    """
    path.write_text("ssh-rsa " + "A" * 5000 + " mdrfckr\n")

    [line] = look(Contents(), path).added

    assert len(line) == MAX_LINE_CHARS
    assert line.startswith("ssh-rsa AAA")
    assert line.endswith("AAA mdrfckr")


def test_what_is_told_is_bounded_and_comments_give_way(path):
    """
    A thousand lines of comment do not push the one that matters out.
    """
    path.write_text("# comment\n" + "".join(f"# {n}\n" for n in range(1000)) + "evil\n")
    assert look(Contents(), path).added == ("evil",)

    path.write_text("".join(f"{n}" + "x" * 500 + "\n" for n in range(1000)))
    added = look(Contents(), path).added
    assert len(added) <= MAX_ADDED_LINES
    assert sum(map(len, added)) <= MAX_ADDED_CHARS


def test_a_binary_file_has_no_lines(path):
    """
    A replaced PAM module is a change, and its bytes are no text.
    """
    path.write_bytes(b"\x7fELF\0evil\n")

    assert look(Contents(), path) == Look(is_changed=True)


def test_memory_is_bounded_and_says_when_it_failed(path, tmp_path):
    """
    Whose lines were dropped has changed, and nobody claims to know how; the rest is right.
    """
    contents = Contents(max_lines=10)
    path.write_text("a\nb\nc\n")
    other = tmp_path / "other"
    other.write_text("".join(f"{n}\n" for n in range(9)))
    look(contents, path)
    look(contents, other)

    path.write_text("a\nb\nc\nd\n")
    assert look(contents, path) == Look(is_changed=True, added=())
    path.write_text("a\nb\nc\nd\ne\n")
    assert look(contents, path) == Look(is_changed=True, added=("e",))


def test_what_vanished_is_remembered_for_a_moment(path, monkeypatch):
    """
    An editor moves the old file away and writes a new one; a month later it is another file.
    """
    contents = Contents()
    path.write_text("a\n")
    look(contents, path)
    contents.vanished(str(path))
    path.write_text("a\nb\n")
    assert look(contents, path).added == ("b",)

    contents.vanished(str(path))
    later = time.monotonic() + GONE_MEMORY_S + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert look(contents, path).added == ("a", "b")


def test_what_was_forgotten_is_all_new(path):
    """
    What we removed ourselves and comes back is told in full.
    """
    contents = Contents()
    path.write_text("a\n")
    look(contents, path)
    contents.vanished(str(path))
    contents.forget(str(path))

    assert look(contents, path).added == ("a",)


def test_a_file_that_cannot_be_read_has_changed_once(path):
    """
    A reason to say so, and not to say it at each look.
    """
    path.write_text("a\n")
    fd = os.open(path, os.O_PATH)
    facts = of_descriptor(fd)
    os.close(fd)

    contents = Contents()

    assert contents.look(str(path), fd, facts) == Look(is_changed=True)
    assert contents.look(str(path), fd, facts) == Look(is_changed=False)


def test_lines_of_a_file_that_is_written_anew_are_not_new(path):
    """
    Who writes a file anew empties it first, and we may look at it just then.
    """
    contents = Contents()
    for text in ("a\nb\n", "", "a\n"):
        path.write_text(text)
        look(contents, path)

    path.write_text("a\nb\nc\n")

    assert look(contents, path).added == ("c",)


def test_line_that_left_long_ago_is_new(path, monkeypatch):
    """
    Somebody has it back on purpose.
    """
    contents = Contents()
    for text in ("a\nb\n", "a\n"):
        path.write_text(text)
        look(contents, path)
    path.write_text("a\nb\n")
    now = time.monotonic()
    monkeypatch.setattr("time.monotonic", lambda: now + LINE_MEMORY_S + 1)

    assert look(contents, path).added == ("b",)


def test_line_that_we_took_out_is_new_at_once(path):
    """
    It must be seen to come back.
    """
    contents = Contents()
    for text in ("a\nb\n", "a\n"):
        path.write_text(text)
        look(contents, path)
    contents.settle(str(path))
    path.write_text("a\nb\n")

    assert look(contents, path).added == ("b",)


def test_lines_that_left_are_bounded(path):
    """
    What does not fit is new when it is back.
    """
    contents = Contents()
    path.write_text("".join(f"{number}\n" for number in range(MAX_LINES_GONE + 1)))
    look(contents, path)
    path.write_text("x\n")
    look(contents, path)
    path.write_text("x\n1\n")

    assert look(contents, path).added == ("1",)
