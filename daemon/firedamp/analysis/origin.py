# SPDX-License-Identifier: Apache-2.0
"""Where a running image came from, and in what kind of place it lies.

`ImageOrigin`: loaders that must not leave a file behind write the payload to a memfd, or unlink
it right before they run it. Both leave an image that no directory names, so it is the link count
that tells, whatever path was asked for.

`ImagePlace`: which doubtful properties the image's path has; a path is chosen by whoever put the
file there, so that it can raise suspicion and never lower it.

Blind spots: a payload that keeps its name until after exec; code that is loaded into a process
without exec; a file in an ordinary place that should not be there.
"""

from functools import lru_cache

from firedamp.analysis.base import FieldValue
from firedamp.context.process import Observed
from firedamp.events.model import ConnectionFound, ProcessFound

MEMFD_PREFIX = "/memfd:"
DELETED_SUFFIX = " (deleted)"

WORLD_WRITABLE = (
    "/tmp/",  # noqa: S108 - looked at, never written to
    "/var/tmp/",  # noqa: S108
    "/dev/shm/",  # noqa: S108
    "/run/shm/",
    "/run/lock/",
    "/var/lock/",
)
"""Directories in which every account may put files, on every Debian and its kin."""
TEMPORARY = (*WORLD_WRITABLE, "/run/", "/var/run/", "/dev/")
"""What does not survive a restart, or is meant for nothing that runs."""

# Hidden directories that tools make in a home directory and run programs from. A miner can settle
# there too, and is then found by what it does; calling all of them doubtful would drown that.
HOME_TOOLS = frozenset(
    (
        ".ansible", ".asdf", ".bun", ".cabal", ".cache", ".cargo", ".conda", ".config", ".deno",
        ".docker", ".dotnet", ".fly", ".gem", ".ghcup", ".goenv", ".gradle", ".gvm", ".jenv",
        ".juliaup", ".krew", ".linuxbrew", ".local", ".m2", ".mix", ".nix-profile", ".nodenv",
        ".npm", ".npm-global", ".nuget", ".nvm", ".oh-my-zsh", ".opam", ".pixi", ".pulumi",
        ".pyenv", ".rbenv", ".rustup", ".rvm", ".sdkman", ".tfenv", ".vim", ".virtualenvs",
        ".volta", ".vscode", ".vscode-server", ".yarn",
    )
)  # fmt: skip
# Hidden directories that tools make wherever a project lies.
PROJECT_TOOLS = frozenset(
    (
        ".bin", ".bundle", ".direnv", ".eggs", ".git", ".gradle", ".hg", ".nox", ".pnpm",
        ".terraform", ".terragrunt-cache", ".tox", ".venv", ".yarn",
    )
)  # fmt: skip


def image_origin(observed: Observed) -> FieldValue:
    """`memory`, `deleted` or `file`; None where the image is not known."""
    process = observed.process
    image = process.image
    if not image:
        return None
    if image.startswith(MEMFD_PREFIX):
        return "memory"
    if process.link_count == 0 or image.endswith(DELETED_SUFFIX):
        return "deleted"
    return "file"


def image_place(observed: Observed) -> FieldValue:
    """All that apply of world_writable, temporary, hidden; None where none does."""
    return place_of(observed.process.image) or None


@lru_cache(maxsize=4096)
def place_of(path: str) -> tuple[str, ...]:
    """What is doubtful about the place of this file, judged by its absolute path."""
    path = path.removesuffix(DELETED_SUFFIX)
    if path.startswith(MEMFD_PREFIX) or not path.startswith("/"):
        return ()
    found = []
    if path.startswith(WORLD_WRITABLE):
        found.append("world_writable")
    if path.startswith(TEMPORARY):
        found.append("temporary")
    if _is_hidden(path):
        found.append("hidden")
    return tuple(found)


def _is_hidden(path: str) -> bool:
    """Some part of the path begins with a dot, and no tool that people use made it so."""
    parts = path.split("/")[1:]
    home = _home_depth(parts)
    for depth, part in enumerate(parts):
        if not part.startswith(".") or part in {".", ".."}:
            continue
        is_directory = depth < len(parts) - 1
        if depth == home and is_directory and part in HOME_TOOLS:
            continue
        if is_directory and part in PROJECT_TOOLS and not path.startswith(TEMPORARY):
            continue
        return True
    return False


def _home_depth(parts: list[str]) -> int:
    """At which part a home directory's own entries begin; -1: in no home directory."""
    if parts[0] == "root":
        return 1
    if parts[0] == "home":
        return 2
    if parts[:2] == ["var", "lib"]:  # where service accounts have theirs
        return 3
    return -1


def is_found(observed: Observed) -> FieldValue:
    """The process, or its connection, was there already when the daemon started."""
    return isinstance(observed.event, ProcessFound | ConnectionFound)
