# SPDX-License-Identifier: Apache-2.0
"""Loading: what is taken, what is refused and how it is said, what cannot apply and why."""

import datetime as dt
import pickle

import pytest

from firedamp.errors import PolicyError
from firedamp.policy.ir import Comparison, Rule, Text, Wildcard
from firedamp.policy.types import Level

SIMPLE = "detection: {one: {Image|endswith: /miner}, condition: one}\n"
FILTER = """
title: {title}
id: {id}
logsource: {{product: linux, category: process_creation}}
filter:
  rules: {rules}
  ours: {{User: builder}}
  condition: {condition}
firedamp: {{reason: our own build, expires: 2030-01-01}}
"""


def identity(number):
    """An id that tells tests apart."""
    return f"00000000-0000-4000-8000-{number:012d}"


def refusal(load, *directories, **options):
    """What is said when nothing of it is taken."""
    with pytest.raises(PolicyError) as caught:
        load(*directories, **options)
    return str(caught.value)


def test_rule_becomes_plain_data(rule, load):
    """
    What comes out holds all that the engine needs and pickles without pySigma's types.
    """
    rule(SIMPLE + "tags: [attack.impact]\nfalsepositives: [yours]\ndescription: ' why '\n")

    loaded = load()

    [one] = loaded.policies.rules
    assert one.condition == Comparison("Image", Text((Wildcard.ANY, "/miner")))
    assert one.category == "process_creation"
    assert (one.summary.level, one.summary.status) == (Level.HIGH, "stable")
    assert (one.summary.tags, one.summary.description) == (("attack.impact",), "why")
    assert b"sigma" not in pickle.dumps(loaded.policies)
    assert pickle.loads(pickle.dumps(loaded.policies)) == loaded.policies


def test_rule_from_elsewhere_loads_as_it_is_and_only_alerts(rule, load):
    """
    Without `firedamp:` there is no response, and no test is asked for.
    """
    rule(SIMPLE)

    [one] = load().policies.rules

    assert one.summary.response == ()
    assert one.raises


@pytest.mark.parametrize(
    ("body", "place", "text"),
    [
        ("detection: {one: {A|foo: x}, condition: one}", ":6: detection.one.A|foo:", "foo"),
        ("detection: {one: {A|re: '('}, condition: one}", "one.A|re:", "missing )"),
        ("detection: {one: {A: []}, condition: one}", "one.A:", "empty list"),
        ("detection: {one: {A: {b: c}}, condition: one}", "one.A:", "dict"),
        ("detection: {one: {}, condition: one}", "detection.one:", "empty"),
        ("detection: {one: {A: x}, condition: two}", "detection.condition:", "called two"),
        ("detection: {one: {A: x}, condition: 1 of two*}", "detection.condition:", "two*"),
        ("detection: {one: {A: x}, condition: one | count() > 5}", ".condition:", "pipe"),
        ("detection: {one: {A: x}}", "detection.condition:", "no condition"),
        ("detection: [x]", "detection:", "must be a map"),
        ("level: severe\n" + SIMPLE, ":6: level:", "twice"),
        ("tags: attack\n" + SIMPLE, ":6: tags:", "list"),
        ("date: soon\n" + SIMPLE, ":6: date:", "yyyy-mm-dd"),
        ("action: global\n" + SIMPLE, ":6: action:", "write each rule out"),
        ("detection: {one: {A|cidr: x}, condition: one}", "one.A|cidr:", "CIDR"),
        ("detection: {one: {A|gt: x}, condition: one}", "one.A|gt:", "x"),
        (
            "detection: {one: {A: x}, condition: " + "(" * 30 + "one" + ")" * 30 + "}",
            ".condition:",
            "too long or too deeply",
        ),
    ],
)
def test_what_is_wrong_is_said_with_file_line_and_key(rule, load, body, place, text):
    """
    Whoever edits the file is led to the place.
    """
    path = rule(body)

    message = refusal(load)

    assert message.startswith(f"{path}:")
    assert place in message
    assert text in message


def test_all_problems_of_all_files_are_said_at_once(rule, load):
    """
    Nobody should have to start the daemon five times to find five mistakes.
    """
    rule("detection: {one: {A|foo: x, B|bar: y}, condition: one}", number=1)
    rule("detection: {one: {A: x}, condition: two}\ntags: [nonsense]", number=2)
    rule(SIMPLE, number=3)

    message = refusal(load)

    assert len(message.splitlines()) == 4
    assert "rule_3" not in message


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("title: a\ntitle: b\n", "stands twice"),
        ("a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nd: [" + "*c," * 70 + "]", "aliases"),
        ("a: &a {x: 1}\nb: {<<: *a}\n", "merge keys"),
        ("a: " + "[" * 100 + "]" * 100, "deep"),
        ("---\na: 1\n" * 70, "more than 64 document"),
        ("a: !!python/object:os.system x\n", "tags"),
        ("- a\n", "a policy is a map"),
        ("title: [\n", "while parsing"),
        ("title: x\nfilter: 5\nlogsource: {product: linux}\n", "must be a map"),
        ("title: x\ncorrelation: 5\n", "must be a map"),
        ("title: 5\nid: 5\nlogsource: 5\ndetection: 5\n", "must be"),
    ],
)
def test_hostile_files_are_refused_quickly(write, load, text, complaint):
    """
    Files come from strangers: none may hang the loader or mean other than it seems to.
    """
    write(text)

    assert complaint in refusal(load)


def test_large_patterns_are_refused(rule, load):
    """
    A file can be within its limits and still hold what would be slow to run.
    """
    rule(f"detection: {{one: {{A|re: '{'a' * 5000}'}}, condition: one}}")

    assert "more than 4096 characters" in refusal(load)


def test_expansion_is_bounded(rule, load):
    """
    A short condition over long lists must not become a long one.
    """
    values = ", ".join(map(str, range(9000)))
    rule(f"detection: {{one: {{A: [{values}]}}, condition: one and one}}")

    assert "comparisons" in refusal(load)


def test_numbers_and_words_mean_what_they_seem_to(rule, load):
    """
    YAML 1.1 would make 511 of 0777, seconds of 12:30:45, and true of yes.
    """
    rule("detection: {one: {CommandLine: [0777, 12:30:45, yes, 2026-01-01]}, condition: one}")

    [one] = load().policies.rules

    assert [test.value.parts for test in one.condition.items] == [
        ("0777",),
        ("12:30:45",),
        ("yes",),
        ("2026-01-01",),
    ]


@pytest.mark.parametrize(
    ("logsource", "reason"),
    [
        ("{product: windows, category: process_creation}", "is for windows"),
        ("{product: linux, service: auditd}", "audit records"),
        ("{product: linux, service: sshd}", "service sshd"),
        ("{product: linux}", "names no category"),
        ("{category: webserver}", "no events of category webserver"),
    ],
)
def test_what_cannot_apply_is_listed_with_the_reason(rule, load, logsource, reason):
    """
    Never silently skipped.
    """
    rule(f"logsource: {logsource}\n{SIMPLE}")

    loaded = load()

    assert loaded.policies.rules == ()
    [one] = loaded.policies.inapplicable
    assert reason in one.reason


@pytest.mark.parametrize("key", ["CommandLine|expand", "CommandLine|hour"])
def test_values_that_need_what_is_not_there_cannot_apply(rule, load, key):
    """
    Placeholders have no values here, and no field holds a time of day.
    """
    value = "'%admins%'" if "expand" in key else 5
    rule(f"detection: {{one: {{{key}: {value}}}, condition: one}}")

    [one] = load().policies.inapplicable

    assert key in one.reason


def test_retired_rules_are_kept_to_be_read(write, load):
    """
    Sigma's deprecated rules have a successor.
    """
    write("title: x\nstatus: deprecated\nlogsource: {category: process_creation}\n" + SIMPLE)

    loaded = load()

    assert loaded.policies.rules == ()
    assert "deprecated" in loaded.policies.inapplicable[0].reason


def test_later_directory_replaces_the_same_id(rule, load):
    """
    A site changes a shipped policy by a file of its own with the same id.
    """
    rule(SIMPLE, directory="shipped")
    rule("detection: {one: {Image: /other}, condition: one}", directory="site")

    [one] = load("shipped", "site").policies.rules

    assert one.condition == Comparison("Image", Text(("/other",)))


def test_same_id_twice_in_one_directory_is_an_error(rule, load):
    """
    One of the two would be lost, and nobody would know which.
    """
    first = rule(SIMPLE, filename="a.yml")
    rule(SIMPLE, filename="b.yml")

    assert f"b.yml:2: id: is also the id of {first}:1" in refusal(load)


def test_same_name_twice_is_an_error(rule, load):
    """
    Correlations refer to names.
    """
    rule(SIMPLE, number=1, name="miner")
    rule(SIMPLE, number=2, name="miner")

    assert "is also the name of" in refusal(load)


def test_disabled_policies_are_left_out(rule, load):
    """
    By id, in the settings.
    """
    rule(SIMPLE, number=1)
    rule(SIMPLE, number=2)

    [one] = load(disable=[identity(1)]).policies.rules

    assert one.summary.id == identity(2)


def test_unknown_field_in_a_rule_from_elsewhere_is_a_warning(rule, load):
    """
    It may ask for what other systems know; its other alternatives still match.
    """
    rule("detection: {one: {Imgae: x}, condition: one}")

    [warning] = load().warnings

    assert "no field Imgae; did you mean Image?" in warning


def test_unknown_field_in_a_policy_of_ours_is_an_error(rule, load):
    """
    A policy that says `firedamp:` was written for these fields.
    """
    rule("detection: {one: {Imgae: x}, condition: one}\nfiredamp: {blind_spots: none}")

    assert "detection.one.Imgae: events of category process_creation" in refusal(load)


def test_unused_detection_is_a_warning(rule, load):
    """
    Most often it is a mistyped condition.
    """
    rule("detection: {one: {Image: x}, two: {Image: y}, condition: one}")

    assert "detection.two: is not used" in load().warnings[0]


@pytest.mark.parametrize(
    ("extension", "place", "text"),
    [
        ("{reaction: [kill]}", "firedamp.reaction:", "unknown key"),
        ("{response: [murder]}", "firedamp.response[0]:", "kill"),
        ("{response: [kill, kill]}", "firedamp:", "twice"),
        ("{response: [kill], alert: false}", "firedamp:", "alert: false"),
        ("{alert: yes}", "firedamp.alert:", "boolean"),
        ("{mode: enforce}", "firedamp.mode:", "policies.enforce"),
        ("{every: 5}", "firedamp.every:", "60s"),
        ("{tests: [{name: x}]}", "firedamp.tests[0].events:", "missing"),
        ("{tests: [{name: x, events: [{category: nope}], expect: {alert: true}}]}", "[0]:", "nope"),
        (
            "{tests: [{name: x, events: [{category: dns_query, Imag: x}], expect: {alert: true}}]}",
            "events[0]:",
            "did you mean Image?",
        ),
        ("5", "firedamp:", "should be"),
    ],
)
def test_extension_is_strict(rule, load, extension, place, text):
    """
    A typo in a response must not become no response.
    """
    rule(f"{SIMPLE}firedamp: {extension}")

    message = refusal(load)

    assert place in message
    assert text in message


def test_response_is_put_in_the_order_of_acting(rule, load):
    """
    First nothing may run any more, last it is killed, whatever the file's order.
    """
    rule(f"{SIMPLE}firedamp: {{response: [kill, block, freeze]}}")

    [one] = load().policies.rules

    assert one.summary.response == ("freeze", "block", "kill")


def test_shipped_policy_must_be_complete_and_prove_itself(rule, load):
    """
    What comes with the daemon says what it cannot see, and shows a case of each kind.
    """
    rule(f"{SIMPLE}firedamp: {{response: [kill]}}")

    message = refusal(load, shipped=True)

    for missing in ("description", "author", "date", "tags", "blind_spots"):
        assert missing in message
    assert "alert: true" in message
    assert "alert: false" in message


def test_policy_with_a_response_needs_a_status(write, load):
    """
    The status limits what it may do.
    """
    write(
        f"title: x\nid: {identity(1)}\nlogsource: {{category: process_creation}}\n{SIMPLE}"
        "firedamp: {response: [kill]}"
    )

    assert "status: a policy with a response must have one" in refusal(load)


def test_informational_rules_raise_nothing_of_their_own(write, load):
    """
    So says the specification; they can still be evidence.
    """
    write(
        f"title: x\nid: {identity(1)}\nlevel: informational\n"
        f"logsource: {{category: process_creation}}\n{SIMPLE}"
    )

    [one] = load().policies.rules

    assert isinstance(one, Rule)
    assert not one.raises


def test_filter_is_joined_to_the_rules_that_it_names(rule, write, load):
    """
    An exception lies beside the rule, and the rule's own tests are run without it.
    """
    rule(SIMPLE, number=1)
    rule(SIMPLE, number=2)
    text = FILTER.format(title="f", id=identity(9), rules=identity(1), condition="not ours")
    write(text, name="filter.yml")

    loaded = load()

    first, second = loaded.policies.rules
    assert first.filters == (identity(9),)
    assert second.filters == ()
    assert loaded.unfiltered.rules[0].filters == ()
    assert loaded.warnings == ()


def test_filter_for_any_rule_keeps_to_its_logsource(rule, write, load):
    """
    `any` means any rule over the same events.
    """
    rule(SIMPLE, number=1)
    rule(
        "logsource: {category: file_event}\ndetection: {one: {TargetFilename: /x}, condition: one}",
        number=2,
    )
    write(FILTER.format(title="f", id=identity(9), rules="any", condition="not ours"), name="f.yml")

    first, second = load().policies.rules

    assert first.filters
    assert not second.filters


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        (("not ours", "ours"), "keeps the rules to what it says"),
        (("reason: our own build, ", ""), "should say its reason"),
        ((", expires: 2030-01-01", ""), "should have a day"),
        (("2030-01-01", "2020-01-01"), "has expired on 2020-01-01 and is not applied"),
        ((identity(1), "nobody"), "applies to no rule"),
    ],
)
def test_doubtful_filters_are_warned_of(rule, write, load, change, warning):
    """
    An exception without reason or end is how detection dies quietly.
    """
    rule(SIMPLE, number=1)
    text = FILTER.format(title="f", id=identity(9), rules=identity(1), condition="not ours")
    write(text.replace(*change), name="filter.yml")

    loaded = load(today=dt.date(2026, 1, 1))

    assert warning in "\n".join(loaded.warnings)
    is_applied = not warning.endswith(("not applied", "no rule"))
    assert bool(loaded.policies.rules[0].filters) is is_applied


def test_filters_can_lie_in_directories_of_their_own(rule, write, load, tmp_path):
    """
    As the settings have it: policies.filters.
    """
    from firedamp.policy.files import Place

    rule(SIMPLE, number=1)
    text = FILTER.format(title="f", id=identity(9), rules=identity(1), condition="not ours")
    write(text, directory="filters")

    loaded = load(filters=[Place(path=tmp_path / "filters")])

    assert loaded.policies.rules[0].filters == (identity(9),)


def test_missing_directory_is_an_error_unless_optional(load, tmp_path):
    """
    /etc/firedamp/policies need not be there; what the settings name must.
    """
    from firedamp.policy.files import Place
    from firedamp.policy.load import load_policies

    assert "there is no such directory" in refusal(load, "nowhere")
    assert load_policies([Place(path=tmp_path / "nowhere", optional=True)]).policies.rules == ()


def test_digest_follows_the_files_content(rule, load):
    """
    Two hosts with the same policies say so by the same digest.
    """
    rule(SIMPLE)
    before = load().policies.digest
    assert load().policies.digest == before

    rule(SIMPLE + "# changed\n")

    assert load().policies.digest != before
