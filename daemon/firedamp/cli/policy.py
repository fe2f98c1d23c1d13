# SPDX-License-Identifier: Apache-2.0
"""`firedamp policy`: check policies, run the tests that they carry, list and explain them."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firedamp.errors import ConfigError, PolicyError

if TYPE_CHECKING:
    from firedamp.policy.ir import Policy, PolicySet
    from firedamp.policy.load import Loaded

_EXAMPLES = """\
examples:
  firedamp policy check                       everything that the settings name
  firedamp policy test                        the tests of all of it
  firedamp policy test ./my_rule.yml          those of one file, beside the shipped policies
  firedamp policy list --json
  firedamp policy explain '{category: process_creation, Image: /tmp/.x/kswapd0}'
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "policy",
        help="check, test, list and explain policies",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="policy_verb", required=True, metavar="VERB")
    for name, text in (
        ("check", "say whether policies are sound, and what cannot apply here"),
        ("test", "run the tests that policies carry"),
        ("list", "show policies, and those that cannot apply here with the reason"),
        ("explain", "say why each rule matches an event or does not"),
    ):
        verb = verbs.add_parser(name, help=text, description=text)
        if name == "explain":
            verb.add_argument("event", metavar="EVENT", help="a map of its category and fields")
            verb.add_argument("--policy", default="", metavar="TEXT", help="of an id or a title")
        verb.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="file or directory")
        verb.add_argument("--config", type=Path, help="settings other than the installed ones")
        verb.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do what was asked; 0 if all is well, 1 if policies are not sound or fail, 2 on wrong use."""
    missing = [path for path in args.paths if not path.exists()]
    if missing:
        print(f"there is no {', '.join(map(str, missing))}")
        return 2
    try:
        loaded = _load(args)
    except (ConfigError, PolicyError) as error:
        _show_refusal(error, as_json=args.json)
        return 1
    verbs = {"check": _check, "test": _test, "list": _list, "explain": _explain}
    return verbs[args.policy_verb](loaded, args)


def _load(args: argparse.Namespace) -> "Loaded":
    from firedamp.compile_child import load, policy_places
    from firedamp.config import load_settings
    from firedamp.policy.files import Place
    from firedamp.policy.load import load_policies

    settings = load_settings(args.config)
    if not args.paths:
        return load(settings)
    # Beside the others, to which theirs may refer; read once more, they replace themselves.
    given = [Place(path=path) for path in args.paths]
    return load_policies([*policy_places(settings), *given])


def _check(loaded: "Loaded", args: argparse.Namespace) -> int:
    chosen = list(_chosen(loaded.policies, args.paths))
    missing = [one for one in loaded.policies.inapplicable if _is_below(one.path, args.paths)]
    if args.json:
        reasons = [{"id": one.id, "path": one.path, "reason": one.reason} for one in missing]
        document = {"sound": len(chosen), "cannot_apply": reasons, "warnings": loaded.warnings}
        print(json.dumps(document, indent=2))
        return 0
    for warning in loaded.warnings:
        print(f"warning: {warning}")
    for one in missing:
        print(f"cannot apply: {one.path}: {one.title}: {one.reason}")
    print(f"{len(chosen)} policies are sound, {len(missing)} more cannot apply here")
    return 0


def _test(loaded: "Loaded", args: argparse.Namespace) -> int:
    from firedamp.policy.cases import Cases

    cases = Cases(loaded.unfiltered)
    chosen = [one for one in _chosen(loaded.unfiltered, args.paths) if one.cases]
    paths = {one.summary.path for one in chosen}
    failures = cases.failures(paths) if paths else []
    count = sum(len(one.cases) for one in chosen)
    if args.json:
        failed = [
            {"path": one.path, "line": one.line, "case": one.case, "text": one.text}
            for one in failures
        ]
        print(json.dumps({"policies": len(chosen), "tests": count, "failures": failed}, indent=2))
        return 1 if failures else 0
    for failure in failures:
        print(failure)
    result = f"{len(failures)} failed" if failures else "all pass"
    print(f"{len(chosen)} policies, {count} tests: {result}")
    return 1 if failures else 0


def _list(loaded: "Loaded", args: argparse.Namespace) -> int:
    rows = [_row(one) for one in _chosen(loaded.policies, args.paths)]
    missing = [one for one in loaded.policies.inapplicable if _is_below(one.path, args.paths)]
    if args.json:
        reasons = [{"id": one.id, "title": one.title, "reason": one.reason} for one in missing]
        print(json.dumps({"policies": rows, "cannot_apply": reasons}, indent=2))
        return 0
    for row in rows:
        response = ", ".join(row["response"]) or "alert"
        print(f"{row['id']}  {row['level']:13}  {row['status']:12}  {row['title']}  [{response}]")
    for one in missing:
        print(f"{one.id}  cannot apply: {one.reason}  {one.title}")
    return 0


def _explain(loaded: "Loaded", args: argparse.Namespace) -> int:
    from firedamp.cli.explain import explain_event

    rules = [one for one in loaded.policies.rules if _is_below(one.summary.path, args.paths)]
    return explain_event(args.event, rules, wanted=args.policy, as_json=args.json)


def _row(policy: "Policy") -> dict[str, Any]:
    from firedamp.policy.ir import Rule

    summary = policy.summary
    return {
        "id": summary.id,
        "title": summary.title,
        "level": summary.level.name.lower(),
        "status": summary.status or "none",
        "category": policy.category if isinstance(policy, Rule) else "correlation",
        "response": list(summary.response),
        "alerts": policy.raises,
        "path": summary.path,
    }


def _chosen(policies: "PolicySet", paths: list[Path]) -> Iterator["Policy"]:
    for policy in (*policies.rules, *policies.correlations):
        if _is_below(policy.summary.path, paths):
            yield policy


def _is_below(file: str, paths: list[Path]) -> bool:
    resolved = Path(file).resolve()
    return not paths or any(resolved.is_relative_to(path.resolve()) for path in paths)


def _show_refusal(error: ConfigError | PolicyError, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"errors": str(error).splitlines()}, indent=2))
        return
    print(error)
    print(f"refused: {len(str(error).splitlines())} problem(s)")
