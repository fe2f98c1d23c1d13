# SPDX-License-Identifier: Apache-2.0
import dataclasses
import importlib.util
import re
import subprocess
import sys
import tomllib
import typing
from pathlib import Path

import pytest

from firedamp.cli import VERBS
from firedamp.config import load_settings
from firedamp.context.host import HostContext
from firedamp.context.indicators import Indicators
from firedamp.events import model
from firedamp.events.model import ProcessKey
from firedamp.policy.fields import CATEGORIES, views_of
from firedamp.policy.files import Place
from firedamp.policy.load import load_policies
from firedamp.policy.types import ActionName
from firedamp.settings import Settings
from firedamp.strict_yaml import load

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
TEXTS = {page: page.read_text() for page in PAGES}
MAKEFILE = (ROOT / "Makefile").read_text()
MAN_PAGE = ROOT / "packaging/man/firedamp.yaml.5"
SAMPLE_CONFIG = ROOT / "packaging/firedamp.yaml"
ME, PARENT, LOGIN = ProcessKey(4711, 100), ProcessKey(4000, 90), ProcessKey(900, 10)
IN_EVERYTHING = {"at_ns": 1, "process": ME}
WALLET = "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"
VALUES = {
    str: "x.moneropool.example",
    int: 7,
    float: 1.5,
    bool: True,
    bytes: b"x",
    ProcessKey: PARENT,
    tuple[str, ...]: ("203.0.113.7",),
}
GIVEN = {
    "image": "/tmp/.x/perl",
    "argv": ("perl", "/tmp/.x/bot.pl", WALLET),
    "login": WALLET,
    "comm": "kswapd0",
    "address": "203.0.113.7",
    "link_count": 1,
    "exit_code": 9 | 3 << 8,
    "path": f"/docker-{'a' * 64}.scope",
}
TYPES = {"text": str, "number": int | float, "yes/no": bool, "texts": tuple}


def module_from(path):
    """A script of packaging/, as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="module")
def docs():
    """The generator."""
    return module_from(ROOT / "packaging/docs.py")


def field_texts():
    """What is written of the fields."""
    return tomllib.loads((ROOT / "docs/fields.toml").read_text())


def event_of(kind, **given):
    """An event with something in every field."""
    hints = typing.get_type_hints(kind)
    values = {**IN_EVERYTHING, **GIVEN, **given}
    for one in dataclasses.fields(kind):
        if one.name not in values:
            hint = hints[one.name]
            is_choice = typing.get_origin(hint) is typing.Literal
            values[one.name] = typing.get_args(hint)[0] if is_choice else VALUES[hint]
    wanted = {one.name for one in dataclasses.fields(kind)}
    return kind(**{name: value for name, value in values.items() if name in wanted})


def views():
    """Every category's view of an event that has all its fields, of a host that knows all."""
    host = HostContext(
        Indicators(addresses=frozenset({"203.0.113.7"}), tokens=frozenset({"monero"}))
    )
    host.observe(event_of(model.CgroupNamed))
    executed = model.ProcessExecuted
    host.observe(event_of(executed, process=LOGIN, parent=ProcessKey(1, 0), image="/bin/sh"))
    host.observe(event_of(executed, process=PARENT, parent=LOGIN))
    host.observe(event_of(executed))
    host.observe(event_of(model.DnsAnswered, addresses=("203.0.113.7",)))
    for kind in vars(model).values():
        if not isinstance(kind, type) or not issubclass(kind, model.Event):
            continue
        operations = typing.get_args(model.FileOperation) if kind is model.FileChanged else ("",)
        for operation in operations:
            yield from views_of(host.observe(event_of(kind, operation=operation)))


def links(text):
    """Links to other files of this repository, without those to places inside a page."""
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    return [one for one in targets if not one.startswith(("http", "#", "mailto:"))]


def blocks(language):
    """Fenced examples in a language, each with the page it is on."""
    fence = re.compile(rf"^```{language}\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    return [
        pytest.param(text, id=f"{page.name}-{number}")
        for page, whole in TEXTS.items()
        for number, text in enumerate(fence.findall(whole))
    ]


def settings_keys(kind=Settings, prefix=()):
    """Every key of the settings, as a path."""
    hints = typing.get_type_hints(kind, include_extras=False)
    for one in dataclasses.fields(kind):
        path = (*prefix, one.name)
        yield path
        for part in (hints[one.name], *typing.get_args(hints[one.name])):
            if dataclasses.is_dataclass(part):
                yield from settings_keys(part, path)


def keys_of(data, prefix=()):
    """Every key of nested maps and lists of maps, as a path."""
    for one in data if isinstance(data, list) else [data]:
        for key, value in one.items() if isinstance(one, dict) else ():
            yield (*prefix, key)
            yield from keys_of(value, (*prefix, key))


def test_generated_pages_are_current(docs):
    """
    `make docs` would change nothing.
    """
    stale = [path.name for path, text in docs.pages().items() if path.read_text() != text]

    assert stale == []


def test_field_that_nobody_describes_is_refused(docs):
    """
    A field cannot be added to the code and be forgotten in the reference.
    """
    texts = field_texts()
    del texts["process"]["Image"]

    with pytest.raises(ValueError, match=r"says nothing of process\.Image"):
        docs.fields_page(texts)


@pytest.mark.parametrize("group", ["process", "file", "process_cpu"])
def test_description_of_a_field_that_is_gone_is_refused(docs, group):
    """
    The reference does not promise what the code has not.
    """
    texts = field_texts()
    texts[group]["Gone"] = ["text", "It was here."]

    with pytest.raises(ValueError, match=rf"there is no field {group}\.Gone"):
        docs.fields_page(texts)


@pytest.mark.parametrize("category", CATEGORIES)
def test_fields_have_the_types_that_the_reference_says(category):
    """
    What an event shows under a field is of the type that a rule's author is told.
    """
    texts = field_texts()
    groups = (category, "file" if category.startswith("file_") else "", "process")
    stated = {}
    for group in reversed(groups):
        stated.update({name: text[0] for name, text in texts.get(group, {}).items()})
    shown = [dict(view.present()) for view in views() if view.category == category]

    wrong = {
        name: (value, stated[name])
        for fields in shown
        for name, value in fields.items()
        if not isinstance(value, TYPES[stated[name]])
        or (stated[name] == "number" and isinstance(value, bool))
    }

    assert shown
    assert wrong == {}
    assert set(CATEGORIES[category]) - set().union(*shown) <= {"PoolIndicator", "PoolNameToken"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    """
    A link names a file that is there, and a heading that is in it.
    """
    dead = []
    for link in links(TEXTS[page]):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve()
        headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE) if anchor else []
        slugs = {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}
        if not target.exists() or (anchor and anchor not in slugs):
            dead.append(link)

    assert dead == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_that_are_named_exist(page):
    """
    What a page says to type can be typed.
    """
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    code = re.findall(r"^```\w*\n(.*?)^```$|`([^`\n]+)`", TEXTS[page], re.DOTALL | re.MULTILINE)
    named = set(re.findall(r"(?:^|&& )make ([a-z-]+)", "\n".join(map("".join, code)), re.MULTILINE))

    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_exist(page):
    """
    A path of this repository in code quotes is there; one with <…> stands for several.
    """
    tops = "daemon|probes|policies|tests|packaging|docs"
    named = re.findall(rf"`((?:{tops})/[^`\s<>]*)`", TEXTS[page])

    assert [path for path in named if not list(ROOT.glob(path.rstrip("/")))] == []


@pytest.mark.parametrize("text", blocks("sh"))
def test_commands_of_ours_are_understood(text):
    """
    Each verb and each option in an example is one that `firedamp` has.
    """
    for line in text.splitlines():
        found = re.search(r"(?:^|\s|/)firedamp ((?:[a-z]+ ?)+)(.*)$", line.partition("#")[0])
        if not found or "apt-get" in line:
            continue
        words = found[1].split()
        usage = _usage(words)
        options = re.findall(r"(?<!\S)--[a-z-]+", found[2])

        assert [one for one in options if one not in usage] == [], line


def _usage(words):
    """The help of the longest run of words that is a verb."""
    for count in range(min(len(words), 2), 0, -1):
        command = [sys.executable, "-Im", "firedamp", *words[:count], "--help"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            return answer.stdout
    return pytest.fail(f"firedamp has no verb {' '.join(words)}")


@pytest.mark.parametrize("text", blocks("yaml"))
def test_examples_in_yaml_load(tmp_path, text):
    """
    A policy or a filter that somebody copies is sound, and so are settings, without a warning.
    """
    if "title:" not in text:
        file = tmp_path / "firedamp.yaml"
        file.write_text(text)

        assert load_settings(file) != Settings()
        return
    directory = tmp_path / "policies"
    directory.mkdir()
    (directory / "example.yml").write_text(text)

    loaded = load_policies([Place(path=ROOT / "policies", shipped=True), Place(path=directory)])

    assert loaded.warnings == ()


@pytest.mark.parametrize("text", blocks("yaml"))
def test_policies_that_examples_name_exist(text):
    """
    Whoever copies an id switches a policy that there is; a comment behind it is its title.
    """
    files = [path.read_text() for path in (ROOT / "policies").rglob("*.yml")]
    titles = dict(re.findall(r"^title: (.*)\nid: (\S+)$", "\n".join(files), re.MULTILINE))
    known = {identity: title for title, identity in titles.items()}
    named = re.findall(r"^  \w+: \[([0-9a-f-]{36})\](?: +# (.*))?$", text, re.MULTILINE)

    assert [one for one in named if one[0] not in known] == []
    assert [said for identity, said in named if said and said != known[identity]] == []


@pytest.mark.parametrize("path", [*settings_keys()], ids=".".join)
def test_setting_is_explained(path):
    """
    Each setting is in the manual page, under its name.
    """
    assert re.search(rf"\b{path[-1]}\b", MAN_PAGE.read_text().replace("\\", ""))


def test_sample_of_the_settings_is_sound():
    """
    It can be copied as it is, and then means the defaults.
    """
    assert load_settings(SAMPLE_CONFIG) == Settings()


def test_sample_of_the_settings_shows_all_of_them(tmp_path):
    """
    With the comment signs before keys taken away it has every setting in its place, and is sound.
    """
    file = tmp_path / "firedamp.yaml"
    file.write_text(re.sub(r"^( *)#(?=\S)", r"\1", SAMPLE_CONFIG.read_text(), flags=re.MULTILINE))

    assert isinstance(load_settings(file), Settings)
    assert set(keys_of(load(file.read_text(), file=str(file)).data)) == set(settings_keys())


@pytest.mark.parametrize("name", ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"])
def test_actions_that_are_not_there_yet_are_named(name):
    """
    Nobody is promised a response that there is not, nor told that one is missing that there is.
    """
    sources = [path.read_text() for path in (ROOT / "daemon/firedamp/response").glob("*.py")]
    there = re.findall(
        r'^    name: ClassVar\[ActionName\] = "(\w+)"', "\n".join(sources), re.MULTILINE
    )
    missing = set(typing.get_args(ActionName)) - set(there)
    lines = [line for line in TEXTS[ROOT / name].splitlines() if "not there yet" in line.lower()]

    named = set(re.findall(r"`(\w+)`", "\n".join(lines))) & set(typing.get_args(ActionName))

    assert there
    assert named == missing


def test_changelog_names_every_verb():
    """
    An operator learns of each part of the command line.
    """
    [line] = [one for one in TEXTS[ROOT / "CHANGELOG.md"].splitlines() if "- The verbs" in one]

    assert set(re.findall(r"`(\w+)`", line)) == set(VERBS)


def test_pages_speak_in_one_sentence_a_line():
    """
    A change of one sentence is a change of one line.
    """
    several = re.compile(r"[a-z)`][.:?!] [A-Z][a-z]+ ")
    generated = {"fields.md", "policies.md", "hooks.md"}
    found = [
        f"{page.name}: {line}"
        for page, text in TEXTS.items()
        if page.name not in generated
        for line in re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE).splitlines()
        if several.search(line) and not line.startswith("|")
    ]

    assert found == []
