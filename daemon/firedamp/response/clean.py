# SPDX-License-Identifier: Apache-2.0
"""Take out what would bring the processes back: lines, files and links that their actor left.

In this order: the whole file to the vault, what undoing needs to the ledger, and only then the
change. Lines are taken out of files that others use, too; a file that the actor made itself, and
that has nothing else in it, goes to the vault. What else is in a file stays byte for byte.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import ClassVar

from firedamp.errors import ActionError, Refused
from firedamp.policy.types import ActionName, Decision
from firedamp.response import clean_edit, clean_links, files
from firedamp.response.base import Intend, Outcome, Receipt
from firedamp.response.clean_finds import Find, PlaceOf, Work, find, libraries, link_work, works_of
from firedamp.response.clean_units import Systemd, links_of
from firedamp.response.members import Members
from firedamp.response.packages import Packages
from firedamp.response.quarantine import Quarantine
from firedamp.response.suspects import Suspect
from firedamp.response.vault import Vault


class Clean:
    name: ClassVar[ActionName] = "clean"
    reversible: ClassVar[bool] = True

    def __init__(
        self,
        quarantine: Quarantine,
        vault: Vault,
        packages: Packages,
        *,
        places: Callable[[], PlaceOf],
        systemd: Systemd | None = None,
    ) -> None:
        """`places` tells anew for each response which paths are watched: accounts come and go."""
        self._quarantine = quarantine
        self._vault = vault
        self._packages = packages
        self._places = places
        self._systemd = systemd or Systemd()

    def plan(self, decision: Decision, members: Members) -> tuple[str, ...]:
        words: list[str] = []
        for found in self._finds(decision, members):
            if isinstance(found, Receipt):
                words.append(f"not {found.target}: {found.reason}")
                continue
            with found:
                words.append(found.words())
                if found.place == "preload":
                    words += self._planned_libraries(found)
        return tuple(words)

    def apply(self, decision: Decision, members: Members, intend: Intend) -> tuple[Receipt, ...]:
        receipts: list[Receipt] = []
        touched: dict[str, None] = {}
        for found in self._finds(decision, members):
            if isinstance(found, Receipt):
                receipts.append(found)
                continue
            with found:
                receipts += self._take_all(found, intend)
                touched[found.path] = None
        problems = {self._systemd.reload(path) for path in self._one_of_systemd(touched)} - {""}
        if problems and receipts:
            why = "; ".join((receipts[-1].reason, *problems)).removeprefix("; ")
            receipts[-1] = replace(receipts[-1], reason=why)
        return tuple(receipts)

    def undo(self, receipt: Receipt, *, force: bool = False) -> Receipt:
        path, how = str(receipt.undo["path"]), receipt.undo["how"]
        try:
            if how == "file":
                result = self._quarantine.undo(receipt, force=force)
            elif how == "link":
                result = self._put_link_back(path, receipt.undo, force=force)
            else:
                missing = clean_edit.put_back(self._vault, path, receipt.undo, force=force)
                result = self._receipt("undone", path, missing)
        except FileExistsError:
            why = "something else is there by now; --force replaces it"
            return self._receipt("refused", path, why)
        except Refused as refusal:
            return self._receipt("refused", path, str(refusal))
        except ActionError as error:
            return self._receipt("failed", path, str(error))
        except OSError as error:
            return self._receipt("failed", path, f"cannot be put back: {error.strerror}")
        for one in self._one_of_systemd({path: None}):
            self._systemd.reload(one)
        return replace(result, action=self.name, target=receipt.target)

    def finish(self, receipt: Receipt) -> Receipt:
        """Resolve a step that the daemon did not live to finish: done, or as if never begun."""
        path, how = str(receipt.undo["path"]), receipt.undo["how"]
        try:
            if how == "file":
                result = self._quarantine.finish(receipt)
            elif how == "link":
                result = self._finish_link(path, receipt)
            else:
                result = self._finish_lines(path, receipt)
        except ActionError as error:
            result = self._receipt("failed", path, str(error))
        except OSError as error:
            result = self._receipt("failed", path, f"is half cleaned: {error.strerror}")
        for one in self._one_of_systemd({path: None}):
            self._systemd.reload(one)
        return replace(result, action=self.name, target=receipt.target)

    # ---- what there is ----------------------------------------------------------------------

    def _finds(self, decision: Decision, members: Members) -> Iterator[Find | Receipt]:
        place_of = self._places()
        for work in works_of(decision, members):
            found = self._find(work, place_of)
            if found is None:
                continue
            # Before the unit itself: systemd is not to find it half there.
            if isinstance(found, Find) and found.place == "systemd" and found.kind == "file":
                for link in links_of(found.path):
                    more = self._find(link_work(link), place_of)
                    if more is not None:
                        yield more
            yield found

    def _find(self, work: Work, place_of: PlaceOf) -> Find | Receipt | None:
        try:
            return find(work, place_of, self._packages)
        except Refused as refusal:
            return self._receipt("refused", work.path, str(refusal))
        except OSError as error:
            why = f"cannot be looked at: {error.strerror}"
            return self._receipt("failed", work.path, why)

    def _planned_libraries(self, found: Find) -> Iterator[str]:
        for library in libraries(found.taken, self._packages):
            with library:
                yield library.words()

    # ---- taking -----------------------------------------------------------------------------

    def _take_all(self, found: Find, intend: Intend) -> Iterator[Receipt]:
        yield self._take(found, intend)
        if found.place == "preload":
            for library in libraries(found.taken, self._packages):
                with library:
                    yield self._take(library, intend)

    def _take(self, found: Find, intend: Intend) -> Receipt:
        words = found.words()
        step = 0

        def write_down(target: str, undo: Mapping[str, object]) -> int:
            nonlocal step
            step = intend(words or target, {**undo, "how": found.kind, "path": found.path})
            return step

        try:
            undo, why = self._take_one(found, write_down)
        except Refused as refusal:
            return self._receipt("refused", words, str(refusal), step=step)
        except ActionError as error:
            return self._receipt("failed", words, str(error), step=step)
        except OSError as error:
            why = f"cannot be taken: {error.strerror}"
            return self._receipt("failed", words, why, step=step)
        return Receipt(
            action=self.name,
            outcome="done",
            target=words,
            reason=why,
            undo={**undo, "how": found.kind, "path": found.path},
            step=step,
        )

    def _take_one(self, found: Find, intend: Intend) -> tuple[Mapping[str, object], str]:
        if found.kind == "lines":
            return clean_edit.take(self._vault, found, intend), ""
        if found.kind == "link":
            undo = clean_links.facts_of(found.where, found.fd)
            intend(found.path, undo)
            after = clean_links.take(found.where, found.fd, str(undo["private"]))
            return {**undo, "directory_mtime_after": after}, ""
        problem = ""

        def write_down(target: str, undo: Mapping[str, object]) -> int:
            nonlocal problem
            step = intend(target, undo)
            problem = self._systemd.stop(found.path) if found.place == "systemd" else ""
            return step

        suspect = Suspect(
            kind="file", inner_path=found.path, path=found.path, fd=found.fd, place=found.where
        )
        result = self._quarantine.take(suspect, write_down)
        if result.outcome != "done":
            raise ActionError(result.reason)
        return result.undo, "; ".join(one for one in (result.reason, problem) if one)

    # ---- putting back, and finishing --------------------------------------------------------

    def _put_link_back(self, path: str, undo: Mapping[str, object], *, force: bool) -> Receipt:
        place = files.locate(path)
        try:
            clean_links.put_back(place, undo, force=force)
        finally:
            place.close()
        return self._receipt("undone", path, "")

    def _finish_link(self, path: str, receipt: Receipt) -> Receipt:
        place = files.locate(path)
        try:
            is_taken = clean_links.finish_taking(place, receipt.undo)
        finally:
            place.close()
        return self._finished(receipt, is_done=is_taken)

    def _finish_lines(self, path: str, receipt: Receipt) -> Receipt:
        is_done = clean_edit.finish(self._vault, path, receipt.undo)
        return self._finished(receipt, is_done=is_done)

    def _finished(self, receipt: Receipt, *, is_done: bool) -> Receipt:
        if is_done:
            why = "finished after the daemon had ended in the middle of it"
            return replace(receipt, outcome="done", reason=why)
        why = "rolled back: the daemon ended before it was taken out"
        return self._receipt("failed", receipt.target, why)

    @staticmethod
    def _one_of_systemd(paths: Mapping[str, None]) -> list[str]:
        """Once is enough, however many of its files were touched."""
        return [path for path in paths if "/systemd/" in path][:1]

    def _receipt(self, outcome: Outcome, target: str, reason: str, *, step: int = 0) -> Receipt:
        return Receipt(action=self.name, outcome=outcome, target=target, reason=reason, step=step)
