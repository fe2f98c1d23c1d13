# SPDX-License-Identifier: Apache-2.0
"""The demo as a play in acts: an attack, what firedamp sees and does, proof, and undoing it."""

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, Final

from firedamp.demo.attack import Attack, Cue
from firedamp.demo.cell import Deaths
from firedamp.demo.narrator import Narrator
from firedamp.demo.proof import Fingerprint, connect_to_pool, contents, tree
from firedamp.demo.stage import Stage, real_interpreter
from firedamp.demo.watcher import Document, Watcher

SETTINGS: Final[Mapping[str, Any]] = {
    "mode": "enforce",
    # A minute would be too long to wait in a demo.
    "sources": {"cpu_window_s": 4, "cpu_cores": 0.5},
}
_SEEN_WITHIN_S: Final = 10.0
_BUSY_WITHIN_S: Final = 30.0
_DEAD_WITHIN_S: Final = 10.0
_COMES_BACK_S: Final = 2.0
_STRAGGLERS_S: Final = 0.3
_UNSAID: Final = ("cannot be taken back", "none of the processes lives any more")
"""Ends of what `firedamp undo` says of those who are dead."""
_LEVELS: Final = ("informational", "low", "medium", "high", "critical")


@dataclass(frozen=True, slots=True)
class Sight:
    """An alert that an act must lead to, by what its sentence says."""

    what: str
    pattern: str
    within_s: float = _SEEN_WITHIN_S


@dataclass(frozen=True, slots=True)
class Act:
    text: str
    cue: Cue | None
    sights: tuple[Sight, ...]
    aside: str = ""


ACTS: Final = (
    Act(
        "It sees to it that it comes back: a cron line, an SSH key, a preloaded library",
        "persist",
        (
            Sight("the cron line", r"etc/crontab \(cron\)"),
            Sight("the SSH key", r"authorized_keys \(ssh_keys\)"),
            Sight("the preloaded library", r"etc/ld\.so\.preload \(preload\)"),
        ),
        aside="Administrators do such things, too: seen and remembered, and no reason to act.",
    ),
    Act(
        "It starts a miner in a hidden directory, and that keeps the processors busy",
        "settle",
        (
            Sight("the hidden miner", r"/\.x/worker, pid \d+, root\) was started"),
            Sight("its CPU use", r"kept \S+ cores busy", within_s=_BUSY_WITHIN_S),
        ),
        aside="That is suspicious. A build under /tmp is busy as well: still no reason to act.",
    ),
)
_DROPPER: Final = Sight("the dropper", r"dropper\.sh was started")
_LOGIN: Final = Sight("the login", r"/\.x/worker, .* logged in to a mining pool")
_RETURN: Final = Sight("the disguise", r"/\.x/kswapd0, .* disguised \(kernel_thread\)")


class Play:
    """One performance. What was expected and did not happen is in `narrator.failures`."""

    def __init__(self, stage: Stage, watcher: Watcher, narrator: Narrator) -> None:
        self._stage = stage
        self._watcher = watcher
        self._tell = narrator
        self._attack = Attack(stage)
        self._told = 0
        self._evidence: dict[str, None] = {}
        self._shop = self._attack.open_shop()
        self._before = tree(stage.root)
        self._settled = self._before

    def perform(self) -> None:
        """All of it, from the hole in the web application to the last proof.

        The daemon must be watching by now.
        """
        interpreter = Fingerprint.of(real_interpreter())
        self._tell.step("A stranger finds a hole in a web application, and runs a dropper by it")
        self._attack.break_in()
        self._await(_DROPPER)
        self._tell_news()
        for act in ACTS:
            self._play(act)
        self._settled = tree(self._stage.root)
        miner = Fingerprint.of(self._attack.miner)
        self._log_in()
        self._return()
        self._prove(miner, interpreter)
        self._undo(miner)

    def close(self) -> None:
        self._attack.close()

    # ---- the attack -------------------------------------------------------------------------

    def _play(self, act: Act) -> None:
        self._tell.step(act.text)
        if act.cue is not None:
            self._attack.give(act.cue)
        for sight in act.sights:
            self._await(sight)
        self._tell_news()
        self._tell.aside(act.aside)

    def _log_in(self) -> None:
        self._tell.step("The miner logs in to its pool at 203.0.113.7:3333, in XMRig's own words")
        with Deaths(self._stage.cell.pids_of(self._attack.miner)) as deaths:
            self._attack.give("login")
            login = self._stage.pool.await_login(_SEEN_WITHIN_S)
            self._await(_LOGIN)
            dead = deaths.wait(frozenset(deaths.watched), _DEAD_WITHIN_S)
            ended_ns = max(deaths.at_ns.values(), default=0)
        if login is None:
            self._tell.fact(holds=False, text="the pool has heard the login")
            return
        self._tell_news(since_ns=login.at_ns)
        self._tell.aside("This is proof: none but miners say such words.")
        took = f"{(ended_ns - login.at_ns) / 1e6:.0f} ms after the login" if dead else "not dead"
        self._tell.fact(holds=dead, text=f"the miner is dead: {took}")

    def _return(self) -> None:
        self._tell.step("Its watchdog starts it again, now under the name of a kernel thread")
        self._attack.give("return")
        seen = self._await(_RETURN)
        until = time.monotonic() + _DEAD_WITHIN_S
        while self._intruders() and time.monotonic() < until:
            time.sleep(0.001)
        ended_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        if seen is None:
            return
        self._tell_news(since_ns=_at_ns(seen))
        self._tell.aside("None of these is proof alone; together, of one actor, they are.")
        dead = not self._intruders()
        took = f"{(ended_ns - _at_ns(seen)) / 1e6:.0f} ms after it started" if dead else "not all"
        text = f"the disguised miner, the watchdog and the dropper are dead: {took}"
        self._tell.fact(holds=dead, text=text)

    def _intruders(self) -> frozenset[int]:
        return self._stage.cell.pids() - {self._shop}

    # ---- what firedamp says -----------------------------------------------------------------

    def _await(self, sight: Sight) -> Document | None:
        pattern = re.compile(sight.pattern)

        def is_it(document: Document) -> bool:
            return self._is_told("alert", document) and bool(pattern.search(document["message"]))

        found = self._watcher.wait_for(is_it, sight.within_s)
        if found is None:
            self._tell.fact(holds=False, text=f"{sight.what} was seen")
        return found

    def _tell_news(self, since_ns: int = 0) -> None:
        """All that is new, whoever expected it: alerts, then what was done about them."""
        time.sleep(_STRAGGLERS_S)
        documents = self._watcher.documents()
        news = documents[self._told :]
        self._told = len(documents)
        for level, text in in_short(one for one in news if self._is_told("alert", one)):
            self._tell.alert(level, self._without_old(text))
        for alert in news:
            told = alert["firedamp"].get("evidence", ())
            self._evidence.update(dict.fromkeys(one["summary"] for one in told))
        actions = [one for one in news if self._is_told("action", one)]
        for at_ns, text in steps(actions):
            self._tell.action((at_ns - since_ns) / 1e6, text)

    def _without_old(self, text: str) -> str:
        """Leave out evidence that another alert has named already."""
        named = 0
        for summary in self._evidence:
            named += text.count(f"{summary}; ")
            text = text.replace(f"{summary}; ", "")
        return (
            text.replace("of evidence: ", f"of evidence: {named} as above, and ") if named else text
        )

    def _is_told(self, kind: str, document: Document) -> bool:
        return document["firedamp"]["kind"] == kind and self._stage.concerns(document)

    # ---- the proof --------------------------------------------------------------------------

    def _prove(self, miner: Fingerprint | None, interpreter: Fingerprint | None) -> None:
        tell, heard = self._tell, self._stage.pool.connections
        time.sleep(_COMES_BACK_S)
        tell.fact(holds=not self._intruders(), text=f"nothing came back for {_COMES_BACK_S:.0f} s")
        answer = connect_to_pool(self._stage)
        refused = answer != "accepted" and self._stage.pool.connections == heard
        tell.fact(holds=refused, text=f"a new connection to the pool is refused: {answer}")
        gone = not self._attack.miner.exists() and not self._attack.disguised.exists()
        kept = Fingerprint.of(self._watcher.state / "vault" / miner.sha256) if miner else None
        text = "the miner's files are gone, and kept in the vault"
        same = kept is not None and miner is not None and kept.sha256 == miner.sha256
        tell.fact(holds=gone and same, text=text)
        if miner is not None:
            tell.aside(f"     sha256 {miner.sha256}")
        text = "the cron line, the key and the preloaded library are out, and the rest is as it was"
        holds = contents(tree(self._stage.root)) == contents(self._before)
        tell.fact(holds=holds and self._settled != self._before, text=text)
        untouched = interpreter == Fingerprint.of(real_interpreter())
        text = f"the web application still answers, and {real_interpreter()} is untouched"
        tell.fact(holds=self._attack.shop_answers() and untouched, text=text)

    def _undo(self, miner: Fingerprint | None) -> None:
        acted = (one["firedamp"] for one in self._watcher.documents() if self._is_done(one))
        well = True
        self._tell.step("Was it a mistake? Whatever was not a death can be taken back")
        for incident in dict.fromkeys(one["incident"] for one in acted):
            self._tell.line(f"   $ firedamp undo {incident}")
            done = self._watcher.command("undo", incident)
            well = well and done.returncode == 0
            for line in (done.stdout + done.stderr).splitlines():
                if not any(words in line for words in _UNSAID):
                    self._tell.aside(f"  {line}")
        same = well and miner is not None and Fingerprint.of(self._attack.miner) == miner
        text = "the file is back, byte for byte, with its mode, owner and times"
        self._tell.fact(holds=same, text=text)
        text = "so are the lines that were taken out, at their places, and the times of their files"
        self._tell.fact(holds=tree(self._stage.root) == self._settled, text=text)
        answer = connect_to_pool(self._stage)
        text = f"a connection to the pool is let through: {answer}"
        self._tell.fact(holds=answer == "accepted", text=text)

    def _is_done(self, document: Document) -> bool:
        if not self._is_told("action", document):
            return False
        return _receipt(document)["outcome"] == "done"


def in_short(alerts: Iterable[Document]) -> list[tuple[str, str]]:
    """Level and text; what several policies say of one event is said once, with all titles."""
    found: dict[str, list[Document]] = {}
    for alert in alerts:
        text = alert["message"].replace(f" [{alert['rule']['name']}]", "", 1)
        found.setdefault(text, []).append(alert)
    return [
        (
            max((one["firedamp"]["level"] for one in same), key=_LEVELS.index),
            f"{text} [{'; '.join(dict.fromkeys(one['rule']['name'] for one in same))}]",
        )
        for text, same in found.items()
    ]


def steps(actions: Iterable[Document]) -> list[tuple[int, str]]:
    """Boot-time and text; what was done to several at a time is one step, as of the last."""
    found: list[tuple[int, str]] = []
    for (action, outcome, reason), group in groupby(actions, key=_kind_of):
        same = list(group)
        more = f" and {len(same) - 1} more" if len(same) > 1 else ""
        first = _receipt(same[0])["target"]
        what = f"{first}{more}" if outcome == "done" else f"{outcome}: {reason}"
        found.append((_at_ns(same[-1]), f"{action:<10} {what}"))
    return found


def _kind_of(action: Document) -> tuple[str, str, str]:
    receipt = _receipt(action)
    is_done = receipt["outcome"] == "done"
    return receipt["action"], receipt["outcome"], "" if is_done else receipt["reason"]


def _receipt(document: Document) -> Mapping[str, str]:
    receipt: Mapping[str, str] = document["firedamp"]["actions"][0]
    return receipt


def _at_ns(document: Document) -> int:
    """When it happened, on the boot-time clock."""
    wall = datetime.fromisoformat(document["@timestamp"]).timestamp()
    offset = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return int((wall - offset) * 1e9)
