# SPDX-License-Identifier: Apache-2.0
"""The ledger: what was intended, what came of it, and what was undone; never changed, only added.

Each row is one of two kinds. An *intent* is written before anything is changed and has its own
number as `step`. A *receipt* says what came of a step, and names it. An intent without a
receipt is a step that the daemon did not live to finish; `response.recover` deals with these.

Rows form a chain: each holds the SHA-256 of itself and of the row before, so that a row that
was changed or taken out shows (`verify`). Whoever can write the file can forge the whole chain;
what this finds is the careless, and the editor's slip.

Two processes may write at a time (the daemon, and `firedamp undo` that found none): each row is
added in a transaction of its own, which reads the last row first.
"""

import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firedamp.errors import ActionError
from firedamp.policy.types import Decision
from firedamp.response.base import Receipt

try:
    from _sha256 import sha256  # type: ignore[import-not-found,unused-ignore]
except ImportError:  # 3.12 renamed it. hashlib would bring in OpenSSL: 3.5 MiB for short rows.
    from _sha2 import sha256  # type: ignore[import-not-found,unused-ignore]

VERSION = 1

_SCHEMA = f"""
CREATE TABLE entries (
  id INTEGER PRIMARY KEY,
  at_ns INTEGER NOT NULL,
  boot TEXT NOT NULL,
  incident TEXT NOT NULL,
  policy TEXT NOT NULL,
  process TEXT NOT NULL,
  action TEXT NOT NULL,
  outcome TEXT NOT NULL,
  step INTEGER NOT NULL,
  undoes INTEGER NOT NULL,
  target TEXT NOT NULL,
  reason TEXT NOT NULL,
  undo TEXT NOT NULL,
  hash BLOB NOT NULL
) STRICT;
CREATE INDEX entries_undoes ON entries (undoes) WHERE undoes > 0;
PRAGMA user_version = {VERSION};
"""
_COLUMNS = (
    "id", "at_ns", "boot", "incident", "policy", "process", "action", "outcome", "step",
    "undoes", "target", "reason", "undo", "hash",
)  # fmt: skip
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM entries"  # noqa: S608 - our own column names
_INSERT = f"INSERT INTO entries VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why something is done: what of a decision the ledger keeps."""

    incident: str
    policy: str
    process: str

    @classmethod
    def of(cls, decision: Decision) -> "Cause":
        alert = decision.alert
        return cls(incident=alert.incident, policy=alert.policy.id, process=str(decision.target))


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row."""

    id: int
    at_ns: int
    """Wall-clock time, for people."""
    boot: str
    cause: Cause
    undoes: int
    """The receipt that this one took back, or tried to; 0: none."""
    receipt: Receipt


class Ledger:
    """The SQLite file, opened for reading and adding."""

    def __init__(self, path: Path | str, *, boot: str = "", busy_s: float = 5.0) -> None:
        """Open it, or make it. `boot` is this boot's id; empty: the kernel is asked.

        Another writer is waited for at most `busy_s`.

        Raises:
            ActionError: it cannot be opened, or a newer version wrote it.
        """
        self.boot = boot or Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        try:
            # Not as the umask says: targets and reasons are for root's eyes.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._db = sqlite3.connect(path, timeout=busy_s, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute("PRAGMA cache_size = -256")
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise ActionError(f"ledger {path}: {error}") from error

    def intend(self, cause: Cause, receipt: Receipt) -> int:
        """Write down what is about to be done; returns its number.

        Raises:
            ActionError: it could not be written, so it must not be done.
        """
        return self._add(cause, receipt, undoes=0)

    def record(self, cause: Cause, receipt: Receipt, *, undoes: int = 0) -> int:
        """Write down what came of it; returns the receipt's number.

        Raises:
            ActionError: it could not be written.
        """
        return self._add(cause, receipt, undoes=undoes)

    def entry(self, number: int) -> Entry | None:
        return next(self._query("WHERE id = ?", number), None)

    def entries(self, *, since_ns: int = 0, incident: str = "") -> Iterator[Entry]:
        """Rows, oldest first."""
        if incident:
            return self._query("WHERE incident = ? AND at_ns >= ? ORDER BY id", incident, since_ns)
        return self._query("WHERE at_ns >= ? ORDER BY id", since_ns)

    def receipts_of(self, step: int) -> Iterator[Entry]:
        """What came of an intent."""
        return self._query("WHERE step = ? AND outcome <> 'intended' ORDER BY id", step)

    def open_intents(self) -> Iterator[Entry]:
        """Intents of which nothing came, oldest first."""
        return self._query(
            "WHERE outcome = 'intended' AND id NOT IN"
            " (SELECT step FROM entries WHERE outcome <> 'intended') ORDER BY id"
        )

    def in_force(self, action: str = "") -> Iterator[Entry]:
        """Receipts of what was done and can be undone and has not been, newest first."""
        return self._query(
            "AS d WHERE outcome = 'done' AND undo <> '{}' AND (? = '' OR action = ?)"
            " AND NOT EXISTS (SELECT 1 FROM entries AS u"
            " WHERE u.undoes = d.id AND u.outcome = 'undone') ORDER BY id DESC",
            action,
            action,
        )

    def was_undone(self, number: int) -> bool:
        return (
            next(self._query("WHERE undoes = ? AND outcome = 'undone'", number), None) is not None
        )

    def last(self, action: str) -> Entry | None:
        """The newest row of an action."""
        return next(self._query("WHERE action = ? ORDER BY id DESC LIMIT 1", action), None)

    def verify(self) -> list[str]:
        """Walk the chain; returns what is wrong with it, in words."""
        problems = []
        before, expected = b"", 1
        for row in self._db.execute(f"{_SELECT} ORDER BY id"):
            if row[0] != expected:
                problems.append(f"entries {expected} to {row[0] - 1} are missing")
            if row[-1] != _digest(before, row[:-1]):
                problems.append(f"entry {row[0]} is not what was written, or not in its place")
            before, expected = row[-1], row[0] + 1
        return problems

    def close(self) -> None:
        self._db.close()

    # ---- private ----------------------------------------------------------------------------

    def _prepare(self) -> None:
        (found,) = self._db.execute("PRAGMA user_version").fetchone()
        if found > VERSION:
            raise ActionError(f"the ledger is of version {found}, this program knows {VERSION}")
        if found == 0:
            self._db.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}COMMIT;")

    def _add(self, cause: Cause, receipt: Receipt, *, undoes: int) -> int:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                number = self._insert(cause, receipt, undoes)
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise ActionError(f"the ledger cannot be written: {error}") from error
        return number

    def _insert(self, cause: Cause, receipt: Receipt, undoes: int) -> int:
        last = self._db.execute("SELECT id, hash FROM entries ORDER BY id DESC LIMIT 1").fetchone()
        number, before = (last[0] + 1, last[1]) if last else (1, b"")
        row = (
            number,
            time.time_ns(),
            self.boot,
            cause.incident,
            cause.policy,
            cause.process,
            receipt.action,
            receipt.outcome,
            number if receipt.outcome == "intended" else receipt.step,
            undoes,
            _text(receipt.target),
            _text(receipt.reason),
            json.dumps(dict(receipt.undo), separators=(",", ":")),
        )
        self._db.execute(_INSERT, (*row, _digest(before, row)))
        return number

    def _query(self, where: str, *values: object) -> Iterator[Entry]:
        try:
            rows = self._db.execute(f"{_SELECT} {where}", values).fetchall()
        except sqlite3.Error as error:
            raise ActionError(f"the ledger cannot be read: {error}") from error
        return map(_entry, rows)


def _entry(row: tuple[Any, ...]) -> Entry:
    fields = dict(zip(_COLUMNS, row, strict=True))
    undo: Mapping[str, object] = json.loads(fields["undo"])
    return Entry(
        id=fields["id"],
        at_ns=fields["at_ns"],
        boot=fields["boot"],
        cause=Cause(
            incident=fields["incident"], policy=fields["policy"], process=fields["process"]
        ),
        undoes=fields["undoes"],
        receipt=Receipt(
            action=fields["action"],
            outcome=fields["outcome"],
            target=fields["target"],
            reason=fields["reason"],
            undo=undo,
            step=fields["step"],
            id=fields["id"],
        ),
    )


def _digest(before: bytes, row: tuple[object, ...]) -> bytes:
    digest: bytes = sha256(before + json.dumps(row).encode("ascii")).digest()
    return digest


def _text(words: str) -> str:
    """Names that are no UTF-8 are shown escaped: SQLite takes only text that can be encoded."""
    return words.encode("utf-8", "backslashreplace").decode("utf-8")
