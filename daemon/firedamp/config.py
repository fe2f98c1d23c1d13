# SPDX-License-Identifier: Apache-2.0
"""firedamp.yaml and what lies in conf.d beside it, as `Settings`.

Files in conf.d are laid over the main file in the order of their names: maps are merged
key by key, anything else replaces what was there, lists as a whole. A key without a value
leaves the default. Nothing is guessed: whatever is wrong, in any of the files, is reported
at once and the settings are refused.

This module imports pydantic and yaml, so the long-lived process does not import it.
"""

import difflib
import json
import types
import typing
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from firedamp import paths
from firedamp.config_rules import broken_rules
from firedamp.errors import ConfigError
from firedamp.settings import Settings
from firedamp.strict_yaml import Document, Problem, YamlError, YamlPath, load, read

_SUFFIXES: Final = (".yaml", ".yml")
_SETTINGS: Final = TypeAdapter(Settings)
_WORDS: Final = {
    "int_type": "should be a whole number",
    "float_type": "should be a number",
    "string_type": "should be text",
    "bool_type": "should be true or false",
    "tuple_type": "should be a list",
    "greater_than": "should be more than {gt}",
    "greater_than_equal": "should be at least {ge}",
    "less_than_equal": "should be at most {le}",
    "literal_error": "should be {expected}",
}


def load_settings(path: Path | None = None) -> Settings:
    """Read and check the settings.

    Args:
        path: the main file; conf.d is looked for beside it. None: the installed place,
            where a missing file means the defaults.

    Raises:
        ConfigError: with every problem, one a line: `file:line: key.path: text`.
    """
    main = path or paths.config_file()
    layers = _Layers()
    for file in _files(main, required=path is not None):
        layers.add(file)
    if layers.problems:
        raise _refusal(layers.problems)
    try:
        # As JSON: lists become tuples although conversions are otherwise off, so that
        # "49" is not taken for 49, nor true for 1.
        settings = _SETTINGS.validate_json(json.dumps(layers.data), strict=True)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=True)
        raise _refusal([layers.problem(*_explain(dict(one))) for one in found]) from error
    if broken := [layers.problem(where, text) for where, text in broken_rules(settings)]:
        raise _refusal(broken)
    return settings


def _files(main: Path, *, required: bool) -> Iterator[Path]:
    if required or main.exists():
        yield main
    dropins = main.parent / paths.config_dropins_dir().name
    if dropins.is_dir():
        yield from sorted(
            entry
            for entry in dropins.iterdir()
            if entry.suffix in _SUFFIXES and not entry.name.startswith(".")
        )


def _refusal(problems: list[Problem]) -> ConfigError:
    in_order = sorted(problems, key=lambda one: (one.file, one.line))
    return ConfigError("\n".join(map(str, in_order)))


class _Layers:
    """Files laid over one another, and which of them each value comes from."""

    def __init__(self) -> None:
        self.data: dict[str, object] = {}
        self.problems: list[Problem] = []
        self._origin: dict[YamlPath, Document] = {}
        self._last = Document(data=None, file=str(paths.config_file()), lines={})

    def add(self, file: Path) -> None:
        try:
            document = load(read(file), file=str(file))
        except YamlError as error:
            self.problems.extend(error.problems)
            return
        except OSError as error:
            text = f"cannot be read: {error.strerror}"
            self.problems.append(Problem(file=str(file), line=0, path=(), text=text))
            return
        self._last = document
        if isinstance(document.data, dict):
            self._merge(self.data, document.data, (), document)
        elif document.data is not None:
            self.problems.append(document.problem((), "settings are a map: `key: value`"))

    def problem(self, path: YamlPath, text: str) -> Problem:
        """A problem with a merged value, at the place that it comes from."""
        known = path
        while known and known not in self._origin:
            known = known[:-1]
        document = self._origin.get(known, self._last)
        return Problem(file=document.file, line=document.line_of(path), path=path, text=text)

    def _merge(
        self,
        below: dict[str, object],
        above: dict[str, object],
        path: YamlPath,
        document: Document,
    ) -> None:
        for key, value in above.items():
            here = (*path, key)
            if value is None:
                continue
            self._origin[here] = document
            if not isinstance(value, dict):
                below[key] = value
                continue
            inner = below.get(key)
            if not isinstance(inner, dict):
                inner = below[key] = {}
            self._merge(inner, value, here, document)


def _explain(error: dict[str, Any]) -> tuple[YamlPath, str]:
    """One of pydantic's errors in the words of somebody who edits a file."""
    path: YamlPath = error["loc"]
    if error["type"] == "unexpected_keyword_argument":
        known = _keys_at(path[:-1])
        near = difflib.get_close_matches(str(path[-1]), known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
        return path, f"unknown key; {hint}"
    if error["type"] in {"missing", "missing_argument"}:
        return path, "is missing"
    if error["type"].startswith("dataclass"):
        return path, f"should be a map with the keys {', '.join(_keys_at(path))}"
    text = _WORDS.get(error["type"], str(error["msg"]).replace("Input should", "should"))
    value = json.dumps(error["input"], ensure_ascii=False)
    wanted = text.format_map(error.get("ctx", {}))
    return path, f"{wanted}, not {value if len(value) <= 60 else value[:57] + '...'}"


def _keys_at(path: YamlPath) -> list[str]:
    kind: Any = Settings
    for part in path:
        hint = typing.get_type_hints(kind)[part] if isinstance(part, str) else kind
        kind = _item_of(hint)
    return [one.name for one in fields(kind)] if is_dataclass(kind) else []


def _item_of(hint: object) -> object:
    """What a list holds; anything else is itself."""
    if isinstance(hint, types.GenericAlias) and hint.__origin__ is tuple:
        return hint.__args__[0]
    return hint
