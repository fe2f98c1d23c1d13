# SPDX-License-Identifier: Apache-2.0
import pickle

import pytest

from firedamp import paths
from firedamp.config import load_settings
from firedamp.errors import ConfigError
from firedamp.settings import Breaker, Settings, WatchedPlace

ID = "0f2d0000-0000-4000-8000-000000000000"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A configuration directory of its own, filled as {name: text}; the main file's path."""
    monkeypatch.setattr(paths, "config_dir", lambda: tmp_path)

    def fill(main: str | None = None, **dropins: str):
        if main is not None:
            (tmp_path / "firedamp.yaml").write_text(main)
        if dropins:
            (tmp_path / "conf.d").mkdir()
        for name, text in dropins.items():
            (tmp_path / "conf.d" / f"{name}.yaml").write_text(text)
        return tmp_path / "firedamp.yaml"

    return fill


def problems(path) -> list[str]:
    """What is wrong, without the directory that all files share."""
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    return str(caught.value).replace(f"{path.parent}/", "").splitlines()


def test_without_a_file_there_are_the_defaults(place):
    """
    A fresh installation observes.
    """
    place()

    assert load_settings() == Settings()


def test_file_that_was_asked_for_must_be_there(place):
    """
    A typing error on the command line must not pass for the defaults.
    """
    assert problems(place()) == ["firedamp.yaml: cannot be read: No such file or directory"]


def test_values_are_read(place):
    """
    Every kind of value: word, number, list, map, list of maps.
    """
    settings = load_settings(
        place(
            "mode: enforce\n"
            "sources: {cpu_cores: 2}\n"
            "allow:\n  addresses: [192.0.2.0/24, '2001:db8::1']\n"
            "response: {breaker: {max_kills: 3}}\n"
            "watch:\n  extra:\n    - place: cron\n      paths: [/srv/cron/, ~/.cron]\n"
        )
    )

    assert settings.mode == "enforce"
    assert settings.sources.cpu_cores == 2.0
    assert settings.allow.addresses == ("192.0.2.0/24", "2001:db8::1")
    assert settings.response.breaker == Breaker(max_kills=3)
    assert settings.watch.extra == (WatchedPlace(place="cron", paths=("/srv/cron/", "~/.cron")),)


def test_dropins_are_laid_over_in_order_of_their_names(place):
    """
    Maps are merged, lists replaced, and what a drop-in does not name stays.
    """
    path = place(
        "alerts: {journal: no}\nallow: {images: [/usr/bin/a], units: [a.service]}\n",
        **{"20-b": "allow: {images: [/usr/bin/c]}\n", "10-a": "allow: {images: [/usr/bin/b]}\n"},
    )

    settings = load_settings(path)

    assert settings.alerts.journal == "no"
    assert settings.allow.images == ("/usr/bin/c",)
    assert settings.allow.units == ("a.service",)


def test_dropins_work_without_a_main_file(place):
    """
    So do those whose suffix is .yml; editors' backups and hidden files do not count.
    """
    path = place(a="mode: enforce\n")
    dropins = path.parent / "conf.d"
    (dropins / "a.yaml").rename(dropins / "a.yml")
    (dropins / "z.yaml~").write_text("mode: [")
    (dropins / ".z.yaml").write_text("mode: [")

    assert load_settings().mode == "enforce"


def test_key_without_a_value_leaves_the_default(place):
    """
    What remains when everything below a heading is commented out.
    """
    assert load_settings(place("scope:\nmode:\n")) == Settings()


def test_every_problem_is_reported_at_once_with_its_place(place):
    """
    Unknown keys, wrong types and values, in all files, in the order of the files.
    """
    path = place(
        "mod: enforce\n"
        "sources:\n"
        '  cpu_hz: "49"\n'
        "  collect_ms: 5\n"
        "  cpu_window_s: true\n"
        "watch:\n"
        "  roots: /tmp\n"
        "  extra:\n"
        "    - {place: x, paths: [/a], patsh: 1}\n"
        "    - {place: x}\n"
        "    - 7\n"
        "allow: 3\n"
        "mode: Enforce\n",
        **{"10-x": "response:\n  breaker: {max_kils: 3}\n"},
    )

    assert problems(path) == [
        "conf.d/10-x.yaml:2: response.breaker.max_kils: unknown key; did you mean max_kills?",
        "firedamp.yaml:1: mod: unknown key; did you mean mode?",
        'firedamp.yaml:3: sources.cpu_hz: should be a whole number, not "49"',
        "firedamp.yaml:4: sources.collect_ms: should be at least 10, not 5",
        "firedamp.yaml:5: sources.cpu_window_s: should be a whole number, not true",
        'firedamp.yaml:7: watch.roots: should be a list, not "/tmp"',
        "firedamp.yaml:9: watch.extra[0].patsh: unknown key; did you mean paths?",
        "firedamp.yaml:10: watch.extra[1].paths: is missing",
        "firedamp.yaml:11: watch.extra[2]: should be a map with the keys place, paths",
        "firedamp.yaml:12: allow: should be a map with the keys addresses, images, units",
        "firedamp.yaml:13: mode: should be 'observe' or 'enforce', not \"Enforce\"",
    ]


def test_files_that_are_not_yaml_are_all_named(place):
    """
    One broken file does not hide the next.
    """
    found = problems(place("mode: [\n", a="mode: x\nmode: y\n", b="- 1\n"))

    assert [line.split(":")[0] for line in found] == [
        "conf.d/a.yaml",
        "conf.d/b.yaml",
        "firedamp.yaml",
    ]
    assert "stands twice" in found[0]
    assert "settings are a map" in found[1]


def test_problem_with_a_merged_value_names_the_file_that_it_came_from(place):
    """
    Not the file that was read last, and not the one it replaced.
    """
    path = place("mode: observe\n", a="# one\nmode: wrong\n", b="alerts: {journal: auto}\n")

    assert problems(path) == [
        "conf.d/a.yaml:2: mode: should be 'observe' or 'enforce', not \"wrong\""
    ]


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("allow.addresses[0]", "10.0.0.1/8", "has host bits set, did you mean 10.0.0.0/8?: 10."),
        ("allow.addresses[0]", "pool.example", "not an address or a network: pool.example"),
        ("allow.images[0]", "bin/true", "not an absolute path: bin/true"),
        ("allow.units[0]", "redis", "not the name of a unit, such as redis.service: redis"),
        ("scope.containers[0]", "abc", "not 12 to 64 hexadecimal digits: abc"),
        ("scope.users[0]", "''", "not an account's name or UID: "),
        ("scope.cgroups[0]", "/sys/fs/cgroup/a", "is written from the cgroup mount on, such as"),
        ("scope.cgroups[0]", "/a/../b", "not an absolute path: /a/../b"),
        ("policies.enforce[0]", "stratum", "not the id of a policy, which is a UUID: stratum"),
        ("policies.disable[0]", f"{{{ID.upper()}}}", "should be text"),
        ("policies.disable[0]", ID.upper(), "not a UUID in its usual, lower-case form: 0F2"),
        ("sources.cgroup_root", "cg", "not an absolute path: cg"),
        ("control.group", "a b", "not a group's name: a b"),
        ("alerts.file", "alerts.jsonl", "not an absolute path: alerts.jsonl"),
    ],
)
def test_values_that_cannot_work_are_refused(place, key, value, complaint):
    """
    The right type is not enough: each of these would silently do nothing, or the wrong thing.
    """
    section, name = key.removesuffix("[0]").split(".")
    value = f"[{value}]" if key.endswith("[0]") else value

    [found] = problems(place(f"{section}:\n  {name}: {value}\n"))

    assert found.startswith(f"firedamp.yaml:2: {key}: {complaint}")


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ("{place: My Place, paths: [/a]}", "place: not a name of lower-case letters, digits and _"),
        ("{place: a, paths: [/a, ~bob/x]}", "paths[1]: ~ stands for every account's home: write"),
    ],
)
def test_watched_places_are_checked_one_by_one(place, entry, complaint):
    """
    The complaint names the entry and the path in it.
    """
    [found] = problems(place(f"watch:\n  extra:\n  - {entry}\n"))

    assert found.startswith(f"firedamp.yaml:3: watch.extra[0].{complaint}")


def test_policy_cannot_be_both_enforced_and_observed(place):
    """
    Which of the two was meant is for the administrator to say.
    """
    one = "0f2d0000-0000-4000-8000-000000000000"

    [found] = problems(place(f"policies:\n  enforce: [{one}]\n  observe: [{one}]\n"))

    assert (
        found == f"firedamp.yaml:2: policies.enforce[0]: is under policies.observe as well: {one}"
    )


def test_settings_travel_to_another_process(place):
    """
    They are read in a process that ends, and handed over pickled.
    """
    settings = load_settings(place("mode: enforce\n"))

    assert pickle.loads(pickle.dumps(settings)) == settings
