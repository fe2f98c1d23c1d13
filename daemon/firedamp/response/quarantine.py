# SPDX-License-Identifier: Apache-2.0
"""Take the files that the processes run, so that nothing starts them again; and put them back.

In this order, so that a crash or a full disk at any point loses nothing: look at the file
through a descriptor, keep a copy in the vault, prove the copy, write down what undoing needs,
and only then remove the name, if it still is that file's.

A file without a name (run from memory, or deleted) is kept in the vault all the same: there is
nothing to remove, and nothing to put back.
"""

import os
from collections.abc import Iterator
from typing import ClassVar, cast

from firedamp.errors import ActionError, Refused
from firedamp.events.model import ProcessKey
from firedamp.policy.types import ActionName, Decision
from firedamp.response import files
from firedamp.response.base import Intend, Outcome, Receipt
from firedamp.response.host import Host
from firedamp.response.members import Members
from firedamp.response.packages import Packages
from firedamp.response.suspects import Suspect, may_be_taken, suspects
from firedamp.response.vault import Vault

Inode = tuple[int, int]


class Quarantine:
    name: ClassVar[ActionName] = "quarantine"
    reversible: ClassVar[bool] = True

    def __init__(self, host: Host, vault: Vault, packages: Packages) -> None:
        self._host = host
        self._vault = vault
        self._packages = packages

    def plan(self, decision: Decision, members: Members) -> tuple[str, ...]:
        words: list[str] = []
        for key, suspect in self._suspects(members):
            try:
                self._check(key, suspect, self._users(members))
                words.append(suspect.path)
            except Refused as refusal:
                words.append(f"not {suspect.path}: {refusal}")
            finally:
                suspect.close()
        return tuple(words)

    def apply(self, decision: Decision, members: Members, intend: Intend) -> tuple[Receipt, ...]:
        users = self._users(members)
        receipts = []
        for key, suspect in self._suspects(members):
            try:
                self._check(key, suspect, users)
                receipts.append(self.take(suspect, intend))
            except Refused as refusal:
                receipts.append(self._receipt("refused", suspect.path, str(refusal)))
            except ActionError as error:
                receipts.append(self._receipt("failed", suspect.path, str(error)))
            finally:
                suspect.close()
        return tuple(receipts)

    def undo(self, receipt: Receipt, *, force: bool = False) -> Receipt:
        path = str(receipt.undo["path"])
        try:
            source = self._vault.open(str(receipt.undo["vault"]))
        except ActionError as error:
            return self._receipt("failed", path, str(error))
        try:
            return self._put_back(receipt, path, source, force=force)
        except FileExistsError:
            why = "something else is there by now; --force replaces it"
            return self._receipt("refused", path, why)
        except OSError as error:
            return self._receipt("failed", path, f"cannot be put back: {error.strerror}")
        finally:
            os.close(source)

    def finish(self, receipt: Receipt) -> Receipt:
        """Resolve a step that the daemon did not live to finish: done, or as if never begun."""
        path, undo = str(receipt.undo["path"]), receipt.undo
        try:
            place = files.locate(path)
        except OSError as error:
            return self._receipt("failed", path, f"its directory is gone: {error.strerror}")
        try:
            device, inode = cast("int", undo["device"]), cast("int", undo["inode"])
            with files.unlocked(place.directory):
                taken = files.finish_taking(place, str(undo["private"]), device, inode)
            files.set_inode_flags(place.directory, cast("int", undo["directory_flags"]))
            if taken:
                return Receipt(
                    action=self.name,
                    outcome="done",
                    target=path,
                    reason="finished after the daemon had ended in the middle of it",
                    undo=undo,
                )
            self._relock(place, _metadata(receipt))
            return self._receipt("failed", path, "rolled back: the daemon ended before it took it")
        except OSError as error:
            return self._receipt("failed", path, f"is half taken: {error.strerror}")
        finally:
            place.close()

    def take(self, suspect: Suspect, intend: Intend) -> Receipt:
        """Move one open file to the vault, whoever runs it: the caller has asked all guards.

        Raises:
            ActionError: it could not be kept, or written down. It is where it was.
        """
        before = files.metadata(suspect.fd)
        kept = self._vault.keep(suspect.fd)
        if suspect.place is None:
            step = intend(suspect.path, {})
            why = f"{suspect.why_unplaced}; a copy is in the vault as {kept}"
            return self._receipt("done", suspect.path, why, step=step)
        status, directory = os.fstat(suspect.fd), os.fstat(suspect.place.directory)
        undo: dict[str, object] = {
            "path": suspect.path,
            "vault": kept,
            "device": status.st_dev,
            "inode": status.st_ino,
            "private": f".firedamp-{os.urandom(8).hex()}",
            "metadata": before,
            "directory_flags": files.inode_flags(suspect.place.directory),
            "directory_times": [directory.st_atime_ns, directory.st_mtime_ns],
        }
        step = intend(suspect.path, undo)
        try:
            self._remove(suspect, suspect.place, before, str(undo["private"]))
        except ActionError as error:
            return self._receipt("failed", suspect.path, str(error), step=step)
        undo["directory_mtime_after"] = os.fstat(suspect.place.directory).st_mtime_ns
        others = status.st_nlink - 1
        return Receipt(
            action=self.name,
            outcome="done",
            target=suspect.path,
            reason=f"{others} other names of it remain" if others else "",
            undo=undo,
            step=step,
        )

    # ---- private ----------------------------------------------------------------------------

    def _suspects(self, members: Members) -> Iterator[tuple[ProcessKey, Suspect]]:
        """Each file once, whoever of the members runs it."""
        seen: set[Inode] = set()
        for key in members.keys:
            try:
                for suspect in suspects(self._host, key):
                    status = os.fstat(suspect.fd)
                    inode = (status.st_dev, status.st_ino)
                    if inode in seen:
                        suspect.close()
                        continue
                    seen.add(inode)
                    yield key, suspect
            except ActionError:
                continue  # it ended, and nothing can be learned from it any more

    def _users(self, members: Members) -> frozenset[int]:
        found: set[int] = set()
        for key in members.keys:
            try:
                found |= self._host.users(key)
            except ActionError:
                continue
        return frozenset(found)

    def _check(self, key: ProcessKey, suspect: Suspect, users: frozenset[int]) -> None:
        inner = self._packages
        if not self._host.shares_mounts(key):
            inner = Packages(self._host.root(key))
        may_be_taken(suspect, users, (self._packages, inner))

    def _remove(
        self, suspect: Suspect, place: files.Place, before: files.Metadata, private: str
    ) -> None:
        try:
            now = os.fstat(suspect.fd)
            if (now.st_size, now.st_mtime_ns) != (before["size"], before["mtime_ns"]):
                raise ActionError(f"{suspect.path} changed while it was copied")
            with files.unlocked(place.directory):
                try:
                    files.unlock(suspect.fd)
                    files.take_away(place, suspect.fd, private)
                except BaseException:
                    files.set_inode_flags(suspect.fd, before["flags"])
                    raise
        except OSError as error:
            raise ActionError(f"{suspect.path} cannot be removed: {error.strerror}") from error

    def _put_back(self, receipt: Receipt, path: str, source: int, *, force: bool) -> Receipt:
        place = files.locate(path)
        try:
            before = os.fstat(place.directory)
            private = str(receipt.undo["private"])
            with files.unlocked(place.directory):
                missing = files.put(place, source, _metadata(receipt), private, replace=force)
                # Nobody changed the directory since: then nobody needs to see that we did.
                if before.st_mtime_ns == receipt.undo.get("directory_mtime_after"):
                    times = cast("list[int]", receipt.undo["directory_times"])
                    os.utime(place.directory, ns=(times[0], times[1]))
            return self._receipt("undone", path, "; ".join(missing))
        finally:
            place.close()

    def _relock(self, place: files.Place, before: files.Metadata) -> None:
        fd = os.open(place.name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=place.directory)
        try:
            files.set_inode_flags(fd, before["flags"])
        finally:
            os.close(fd)

    def _receipt(self, outcome: Outcome, target: str, reason: str, *, step: int = 0) -> Receipt:
        return Receipt(action=self.name, outcome=outcome, target=target, reason=reason, step=step)


def _metadata(receipt: Receipt) -> files.Metadata:
    return cast("files.Metadata", receipt.undo["metadata"])
