# SPDX-License-Identifier: Apache-2.0
"""Exactly the lines that were added go, and come back."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firedamp.errors import ActionError
from firedamp.response import clean_lines
from firedamp.response.clean_lines import put_back, resume, rewrite, spans_of, without

LINES = st.lists(st.binary(max_size=12).filter(lambda line: b"\n" not in line), max_size=8)


def test_line_goes_and_the_rest_stays_byte_for_byte():
    """
    Blank lines, comments, carriage returns and what is no text included.
    """
    content = b"# a\r\n\nevil\n\xff\x00 kept \n\nevil2\nlast"

    spans = spans_of(content, ["evil", "evil2"])

    assert without(content, spans) == b"# a\r\n\n\xff\x00 kept \n\nlast"


@pytest.mark.parametrize("kept", [b" evil", b"evil ", b"evil2", b"#evil", b"Evil"])
def test_line_that_is_only_like_it_stays(kept):
    """
    Byte by byte, or not at all.
    """
    assert spans_of(kept + b"\n", ["evil"]) == ()


def test_line_without_end_is_found():
    """
    The last line of a file often has none.
    """
    assert without(b"a\nevil", spans_of(b"a\nevil", ["evil"])) == b"a\n"


def test_line_told_without_its_middle_is_found():
    """
    A long line is told by its beginning and its end.
    """
    line = b"x" * 600 + b"secret middle" + b"y" * 600
    told = "x" * 512 + "…" + "y" * 511

    assert (
        without(b"a\n" + line + b"\nb\n", spans_of(b"a\n" + line + b"\nb\n", [told])) == b"a\nb\n"
    )
    assert spans_of(b"x" * 2000 + b"\n", [told]) == ()


def test_short_line_with_an_ellipsis_stands_for_itself():
    """
    Who writes `…` as a line does not have us take out everything.
    """
    content = "important\n…\n".encode()

    assert without(content, spans_of(content, ["…"])) == b"important\n"


@given(lines=LINES, evil=st.sets(st.binary(min_size=1, max_size=12)))
def test_nothing_but_added_lines_is_ever_taken(lines, evil):
    """
    Whatever is in the file.
    """
    content = b"\n".join(lines)

    spans = spans_of(content, [os.fsdecode(line) for line in evil])

    assert all(content[at : at + size].rstrip(b"\r\n") in evil for at, size in spans)
    assert put_back(without(content, spans), content, ()) == without(content, spans)


def test_line_comes_back_after_the_line_that_it_followed():
    """
    Others have added some meanwhile.
    """
    before = b"first\nevil\nlast\n"
    spans = spans_of(before, ["evil"])

    assert put_back(b"new\nfirst\nlast\nmore\n", before, spans) == b"new\nfirst\nevil\nlast\nmore\n"


def test_line_comes_back_at_the_end_where_what_it_followed_is_gone():
    """
    And never in the middle of a line without end.
    """
    before = b"first\nevil\n"

    assert put_back(b"other", before, spans_of(before, ["evil"])) == b"other\nevil\n"


def test_line_that_is_there_again_is_not_doubled():
    """
    Undo may be asked for twice.
    """
    before = b"first\nevil\n"

    assert put_back(before, before, spans_of(before, ["evil"])) == before


@pytest.mark.parametrize("how_far", range(11))
def test_every_moment_of_a_rewriting_is_known(how_far):
    """
    The daemon may die after each byte.
    """
    before, after = b"keep\nevil\nmore\n", b"keep\nmore\n"
    content = (after[:how_far] + before[how_far:])[: len(before)]

    state = resume(content, before, after)

    assert state in ("before", "torn")
    assert resume(after, before, after) == "after"


def test_strangers_content_is_not_taken_for_ours():
    """
    Then nothing is written.
    """
    assert resume(b"something else\n", b"keep\nevil\n", b"keep\n") == ""
    assert resume(b"keep\nevil\nnew\n", b"keep\nevil\n", b"keep\n") == ""


def test_rewriting_stops_where_the_file_is_another(tmp_path):
    """
    The last look is right before the first byte.
    """
    path = tmp_path / "x"
    path.write_bytes(b"keep\nevil\nnew\n")
    fd = os.open(path, os.O_RDWR)

    with pytest.raises(ActionError, match="changed"):
        rewrite(fd, b"keep\nevil\n", b"keep\n")

    os.close(fd)
    assert path.read_bytes() == b"keep\nevil\nnew\n"


def test_what_is_appended_while_it_is_rewritten_stays(tmp_path, monkeypatch):
    """
    By somebody who has kept the file open.
    """
    path = tmp_path / "x"
    path.write_bytes(b"keep\nevil\n")
    fd = os.open(path, os.O_RDWR)
    write = vars(clean_lines)["_write"]

    def append_too(fd, content, offset):
        write(fd, content, offset)
        if offset == 0:
            with path.open("ab") as other:
                other.write(b"new\n")

    monkeypatch.setattr(clean_lines, "_write", append_too)

    rewrite(fd, b"keep\nevil\n", b"keep\n")

    os.close(fd)
    assert path.read_bytes() == b"keep\nnew\n"


def test_lease_keeps_others_out_and_waits_for_who_is_in(tmp_path):
    """
    Until it is closed, and no longer.
    """
    path = tmp_path / "x"
    path.write_bytes(b"x")
    fd = os.open(path, os.O_RDWR)

    assert clean_lines.lease(fd)
    with pytest.raises(BlockingIOError):
        os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    os.close(fd)

    reader, fd = os.open(path, os.O_RDONLY), os.open(path, os.O_RDWR)
    assert not clean_lines.lease(fd)
    os.close(reader)
    assert clean_lines.lease(fd)
    os.close(fd)
