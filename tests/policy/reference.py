# SPDX-License-Identifier: Apache-2.0
"""A second reading of the Sigma specification: slow, obvious, and sharing no code with ours.

It judges a detection as it stands in the file, by walking it, value by value and letter by
letter. It does not use pySigma.
"""

import base64
import ipaddress
import re
from collections.abc import Mapping
from typing import Any

Event = Mapping[str, Any]


def matches(detection: Mapping[str, Any], event: Event) -> bool:
    """Whether the event meets the `detection` section of a rule."""
    named = {name: part for name, part in detection.items() if name != "condition"}
    tokens = re.findall(r"[()]|[^\s()]+", detection["condition"])
    result, rest = _or(tokens, named, event)
    assert not rest, rest
    return result


# ---- conditions -----------------------------------------------------------------------------


def _or(tokens, named, event):
    result, tokens = _and(tokens, named, event)
    while tokens and tokens[0] == "or":
        other, tokens = _and(tokens[1:], named, event)
        result = result or other
    return result, tokens


def _and(tokens, named, event):
    result, tokens = _not(tokens, named, event)
    while tokens and tokens[0] == "and":
        other, tokens = _not(tokens[1:], named, event)
        result = result and other
    return result, tokens


def _not(tokens, named, event):
    head, *rest = tokens
    if head == "not":
        result, rest = _not(rest, named, event)
        return not result, rest
    if head == "(":
        result, rest = _or(rest, named, event)
        assert rest[0] == ")"
        return result, rest[1:]
    if head in {"1", "all"} and rest[:1] == ["of"]:
        pattern, *rest = rest[1:]
        chosen = [_part(part, event) for name, part in named.items() if _is_selected(pattern, name)]
        return (any if head == "1" else all)(chosen), rest
    return _part(named[head], event), rest


def _is_selected(pattern, name):
    if pattern == "them":
        return not name.startswith("_")
    return re.fullmatch(pattern.replace("*", ".*"), name) is not None


# ---- detections -----------------------------------------------------------------------------


def _part(part, event):
    if isinstance(part, Mapping):
        return all(_field(key, value, event) for key, value in part.items())
    if isinstance(part, list) and any(isinstance(one, Mapping) for one in part):
        return any(_part(one, event) for one in part)
    return _field("", part, event)


def _field(key, wanted, event):
    name, *modifiers = key.split("|")
    wanted = wanted if isinstance(wanted, list) else [wanted]
    results = [_value(name, modifiers, one, event) for one in wanted]
    result = all(results) if "all" in modifiers else any(results)
    return not result if "neq" in modifiers else result


def _value(name, modifiers, wanted, event):
    if name == "":
        shown = [one for value in event.values() for one in _each(value)]
        return any(_is(one, ["contains", *modifiers], wanted, event) for one in shown)
    held = event.get(name)
    if "exists" in modifiers:
        return (held is not None) is wanted
    if wanted is None:
        return held is None
    return any(_is(one, modifiers, wanted, event) for one in _each(held))


def _each(value):
    if value is None:
        return []
    return list(value) if isinstance(value, tuple | list) else [value]


def _text(value):
    return str(value).lower() if isinstance(value, bool) else str(value)


def _is(held, modifiers, wanted, event):
    if "fieldref" in modifiers:
        others = _each(event.get(wanted))
        return any(_shaped(held, modifiers, list(_text(one)), cased=False) for one in others)
    if "cidr" in modifiers:
        try:
            return ipaddress.ip_address(_text(held)) in ipaddress.ip_network(wanted)
        except ValueError:
            return False
    if "re" in modifiers:
        flags = (
            re.IGNORECASE * ("i" in modifiers)
            | re.MULTILINE * ("m" in modifiers)
            | re.DOTALL * ("s" in modifiers)
        )
        return re.search(wanted, _text(held), flags) is not None
    for operator in ("lte", "lt", "gte", "gt"):
        if operator in modifiers:
            return _compare(held, operator, wanted)
    if isinstance(wanted, bool):
        return _text(held).lower() == _text(wanted)
    if isinstance(wanted, int | float):
        if isinstance(held, str) or "contains" in modifiers:
            return _shaped(held, modifiers, list(str(wanted)), cased=False)
        return held == wanted and not isinstance(held, bool)
    forms = _encodings(_symbols(wanted), modifiers)
    return any(_shaped(held, modifiers, form, cased="cased" in modifiers) for form in forms)


def _compare(held, operator, wanted):
    if isinstance(held, bool):
        return False
    try:
        number = float(held)
    except ValueError:
        return False
    order = (number > wanted) - (number < wanted)
    return order in {"lt": {-1}, "lte": {-1, 0}, "gt": {1}, "gte": {0, 1}}[operator]


# ---- text -----------------------------------------------------------------------------------

ANY, ONE = object(), object()


def _symbols(text):
    """A pattern as letters and wildcards; a backslash takes the meaning from * ? and itself."""
    symbols = []
    i = 0
    while i < len(text):
        if text[i] == "\\" and text[i + 1 : i + 2] in {"*", "?", "\\"}:
            symbols.append(text[i + 1])
            i += 2
            continue
        symbols.append({"*": ANY, "?": ONE}.get(text[i], text[i]))
        i += 1
    return symbols


def _encodings(symbols, modifiers):
    """All texts that a value stands for once its modifiers for encoding are applied."""
    forms = [symbols]
    for modifier in modifiers:
        if modifier == "windash":
            forms = [other for form in forms for other in _dashes(form)]
        elif modifier in {"wide", "utf16le"}:
            forms = [[one for letter in form for one in (letter, "\0")] for form in forms]
        elif modifier == "base64":
            forms = [list(base64.b64encode("".join(form).encode()).decode()) for form in forms]
        elif modifier == "base64offset":
            forms = [other for form in forms for other in _offsets("".join(form).encode())]
    return forms


def _dashes(form):
    """Each dash before a word, in each of its five shapes."""
    shapes = ["-", "/", "\u2013", "\u2014", "\u2015"]
    text = "".join("\x00" if one in (ANY, ONE) else one for one in form)
    for found in re.finditer(r"\B[-/]\b", text):
        place = found.start()
        return [
            [*form[:place], shape, *rest]
            for shape in shapes
            for rest in _dashes_after(form[place + 1 :])
        ]
    return [form]


def _dashes_after(form):
    return _dashes(form)


def _offsets(data):
    """What can be seen of the data in base64 whatever stands before and after it."""
    for shift in range(3):
        bits = "".join(f"{byte:08b}" for byte in b"\0" * shift + data)
        sextets = [bits[i : i + 6] for i in range(0, len(bits), 6)]
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        first = -(-shift * 8 // 6)
        yield [alphabet[int(one, 2)] for one in sextets[first:] if len(one) == 6]


def _shaped(held, modifiers, symbols, *, cased):
    if "contains" in modifiers:
        symbols = [ANY, *symbols, ANY]
    at_start, at_end = "startswith" in modifiers, "endswith" in modifiers
    if at_start and at_end:
        symbols = [ANY, *symbols, ANY]
    elif at_start:
        symbols = [*symbols, ANY]
    elif at_end:
        symbols = [ANY, *symbols]
    return _fits(_text(held), symbols, cased=cased)


def _fits(text, symbols, *, cased):
    """Whether the symbols cover the whole text: for each, all places where it can end."""
    places = {0}
    for symbol in symbols:
        if symbol is ANY:
            places = set(range(min(places), len(text) + 1)) if places else set()
        else:
            places = {
                i + 1 for i in places if i < len(text) and _same(text[i], symbol, cased=cased)
            }
    return len(text) in places


def _same(letter, symbol, *, cased):
    if symbol is ONE or letter == symbol:
        return True
    return not cased and letter.lower() == symbol.lower()
