# SPDX-License-Identifier: Apache-2.0
"""What is doubtful about the place where a file lies, judged by its path.

A path is chosen by whoever put the file there, so that it can raise suspicion and never lower it.
"""

from functools import lru_cache

_DELETED_SUFFIX = " (deleted)"

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


@lru_cache(maxsize=4096)
def place_of(path: str) -> tuple[str, ...]:
    """What is doubtful about the place of this file, judged by its absolute path."""
    path = path.removesuffix(_DELETED_SUFFIX)
    if path.startswith("/memfd:") or not path.startswith("/"):
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
