# SPDX-License-Identifier: Apache-2.0
"""Builds our nftables table through pyroute2, in a process that ends.

pyroute2 costs 20 MiB and 0.2 s to import, so the daemon never does: it runs this program
(`python -m firedamp.response.nft_table`) when the table must be made, and for the rest sends
the messages that this program encoded for it (`response.nft`).

In: one JSON object, see `Request`. Out: one JSON object of hexadecimal messages, see `main`.
What goes wrong is said in one line on the error output, with exit status 1; exit status 3
means that this kernel has no nf_tables.

pyroute2 0.9.7's high-level calls cannot do this in one transaction, and three of its encoders
lack something; `_complete_pyroute2` says what.
"""

import errno
import ipaddress
import json
import struct
import sys
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

from pyroute2.netlink import NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REQUEST
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.nfnetlink import NFNL_SUBSYS_NFTABLES, nfgen_msg
from pyroute2.netlink.nfnetlink import nftsocket as nft
from pyroute2.netlink.nfnetlink.nftsocket import NFTSocket

Message = Any
Expression = dict[str, Any]

_INET = 1
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_HOOKS = {"input": 1, "forward": 2, "output": 3}
_PRIORITY = -150  # before filter rules (0) of anyone, after connection tracking (-200)
_SETS = {4: ("b4", 7, 4), 6: ("b6", 8, 16)}
"""IP version: name of the set, type and length of its key, as nft(8) numbers them."""
_MOST_ELEMENTS = 500  # in a message
NO_NFTABLES = 3


class Block(TypedDict):
    address: str
    timeout_ms: int


class Request(TypedDict):
    table: str
    """Name, in the family inet. Replaced whole if it is there."""
    build: bool
    """False: only encode; do not speak to the kernel."""
    scoped: bool
    """Only sockets that match one of `rules` are cut off; else the whole host."""
    rules: list["Scoped"]
    blocks: list[Block]


class Scoped(TypedDict):
    """One way for a socket to be in scope; what is not None must match."""

    cgroup: int | None
    """Inode number of the cgroup v2 directory."""
    level: int
    """How far below the mount point it is."""
    uid: int | None


def _complete_pyroute2() -> None:
    # `socket cgroupv2` is unknown to it, and so is the attribute that says how deep to look.
    socket = nft.nft_contains_expr.nft_expr.nft_socket
    if not any(name == "NFTA_SOCKET_LEVEL" for name, _ in socket.nla_map):
        socket.nla_map = (*socket.nla_map, ("NFTA_SOCKET_LEVEL", "be32"))
        socket.socket_keys.ops[3] = "NFT_SOCKET_CGROUPV2"


# ---- expressions ----------------------------------------------------------------------------


def _expression(name: str, **data: object) -> Expression:
    attributes = [(f"NFTA_{name.upper()}_{key.upper()}", value) for key, value in data.items()]
    return {"attrs": [("NFTA_EXPR_NAME", name), ("NFTA_EXPR_DATA", {"attrs": attributes})]}


def _equals(value: bytes) -> Expression:
    return _expression("cmp", sreg=1, op=0, data={"attrs": [("NFTA_DATA_VALUE", value)]})


def _address(version: int, which: str) -> list[Expression]:
    """This IP version, and the packet's source or destination is in the set."""
    family, offset, length = (2, 12, 4) if version == 4 else (10, 8, 16)
    offset += length if which == "daddr" else 0
    return [
        _expression("meta", key=15, dreg=1),  # nfproto
        _equals(bytes([family])),
        _expression("payload", dreg=1, base=1, offset=offset, len=length),
        _expression("lookup", set=_SETS[version][0], sreg=1),
    ]


def _in_scope(rule: Scoped) -> list[Expression]:
    matches = []
    if rule["cgroup"] is not None:
        matches += [
            _expression("socket", key=3, dreg=1, level=rule["level"]),
            _equals(struct.pack("=Q", rule["cgroup"])),
        ]
    if rule["uid"] is not None:
        matches += [_expression("meta", key=10, dreg=1), _equals(struct.pack("=I", rule["uid"]))]
    return matches


def _drop() -> list[Expression]:
    verdict = {"attrs": [("NFTA_DATA_VERDICT", {"attrs": [("NFTA_VERDICT_CODE", 0)]})]}
    return [_expression("counter"), _expression("immediate", dreg=0, data=verdict)]


# ---- messages -------------------------------------------------------------------------------


def _message(kind: type, number: int, flags: int, *attributes: tuple[str, object]) -> Message:
    message = kind()
    message["attrs"] = list(attributes)
    message["header"]["type"] = (NFNL_SUBSYS_NFTABLES << 8) | number
    message["header"]["flags"] = NLM_F_REQUEST | NLM_F_ACK | flags
    message["nfgen_family"] = _INET
    return message


def _edge(number: int) -> Message:
    message = nfgen_msg()
    message["res_id"] = NFNL_SUBSYS_NFTABLES
    message["header"]["type"] = number
    message["header"]["flags"] = NLM_F_REQUEST
    return message


def _table(name: str, *, remove: bool = False) -> Message:
    number, flags = (nft.NFT_MSG_DELTABLE, 0) if remove else (nft.NFT_MSG_NEWTABLE, NLM_F_CREATE)
    return _message(nft.nft_table_msg, number, flags, ("NFTA_TABLE_NAME", name))


def _set(table: str, version: int) -> Message:
    name, key_type, key_length = _SETS[version]
    return _message(
        nft.nft_set_msg,
        nft.NFT_MSG_NEWSET,
        NLM_F_CREATE,
        ("NFTA_SET_TABLE", table),
        ("NFTA_SET_NAME", name),
        ("NFTA_SET_FLAGS", {"NFT_SET_TIMEOUT"}),
        ("NFTA_SET_KEY_TYPE", key_type),
        ("NFTA_SET_KEY_LEN", key_length),
        ("NFTA_SET_ID", version),
        ("NFTA_SET_USERDATA", [("NFTNL_UDATA_SET_KEYBYTEORDER", struct.pack("=I", 2))]),
    )


def _chain(table: str, hook: str) -> Message:
    place = {"attrs": [("NFTA_HOOK_HOOKNUM", _HOOKS[hook]), ("NFTA_HOOK_PRIORITY", _PRIORITY)]}
    return _message(
        nft.nft_chain_msg,
        nft.NFT_MSG_NEWCHAIN,
        NLM_F_CREATE,
        ("NFTA_CHAIN_TABLE", table),
        ("NFTA_CHAIN_NAME", hook),
        ("NFTA_CHAIN_HOOK", place),
        ("NFTA_CHAIN_POLICY", 1),
        ("NFTA_CHAIN_TYPE", "filter"),
    )


def _rule(table: str, chain: str, expressions: list[Expression]) -> Message:
    return _message(
        nft.nft_rule_msg,
        nft.NFT_MSG_NEWRULE,
        NLM_F_CREATE | NLM_F_APPEND,
        ("NFTA_RULE_TABLE", table),
        ("NFTA_RULE_CHAIN", chain),
        ("NFTA_RULE_EXPRESSIONS", expressions),
    )


def _elements(
    table: str, version: int, blocks: Iterable[tuple[bytes, int]], *, remove: bool = False
) -> Message:
    """Blocks as (packed address, milliseconds)."""
    elements = []
    for address, timeout_ms in blocks:
        element: list[tuple[str, object]] = [
            ("NFTA_SET_ELEM_KEY", {"attrs": [("NFTA_DATA_VALUE", address)]})
        ]
        if not remove:
            element.append(("NFTA_SET_ELEM_TIMEOUT", timeout_ms))
        elements.append({"attrs": element})
    number, flags = (
        (nft.NFT_MSG_DELSETELEM, 0) if remove else (nft.NFT_MSG_NEWSETELEM, NLM_F_CREATE)
    )
    return _message(
        nft.nft_set_elem_list_msg,
        number,
        flags,
        ("NFTA_SET_ELEM_LIST_TABLE", table),
        ("NFTA_SET_ELEM_LIST_SET", _SETS[version][0]),
        ("NFTA_SET_ELEM_LIST_ELEMENTS", elements),
    )


# ---- the table ------------------------------------------------------------------------------


def transaction(request: Request) -> list[Message]:
    """Everything that makes the table what it should be, whatever it was."""
    table = request["table"]
    messages = [
        _edge(_BATCH_BEGIN),
        _table(table),  # so that there is one to remove
        _table(table, remove=True),
        _table(table),
        *(_set(table, version) for version in _SETS),
        *(_chain(table, hook) for hook in _HOOKS),
    ]
    for version in _SETS:
        messages += _rules(request, version)
        messages += _blocked(request, version)
    return [*messages, _edge(_BATCH_END)]


def _rules(request: Request, version: int) -> list[Message]:
    table = request["table"]
    if request["scoped"]:
        # A packet that is forwarded or comes in has no socket of ours yet that could be asked.
        return [
            _rule(table, "output", [*_in_scope(rule), *_address(version, "daddr"), *_drop()])
            for rule in request["rules"]
        ]
    directions = (
        ("output", "daddr"), ("forward", "daddr"), ("forward", "saddr"), ("input", "saddr"),
    )  # fmt: skip
    return [
        _rule(table, chain, [*_address(version, which), *_drop()]) for chain, which in directions
    ]


def _blocked(request: Request, version: int) -> list[Message]:
    blocks = [
        (address.packed, block["timeout_ms"])
        for block in request["blocks"]
        if (address := ipaddress.ip_address(block["address"])).version == version
    ]
    return [
        _elements(request["table"], version, blocks[at : at + _MOST_ELEMENTS])
        for at in range(0, len(blocks), _MOST_ELEMENTS)
    ]


MARK_TIMEOUT_MS = 0x1122334455667788
MARK_ADDRESS = {4: b"\xa5\x5a\xc3\x3c", 6: bytes(range(0xB0, 0xC0))}


def templates(table: str) -> Mapping[str, Message]:
    """Messages in which the daemon puts an address and a time in place of the marks."""
    return {
        "begin": _edge(_BATCH_BEGIN),
        "end": _edge(_BATCH_END),
        "remove_table": _table(table, remove=True),
        **{
            f"{verb}{version}": _elements(
                table, version, [(MARK_ADDRESS[version], MARK_TIMEOUT_MS)], remove=verb == "del"
            )
            for verb in ("add", "del")
            for version in _SETS
        },
    }


def _encode(message: Message) -> str:
    message.reset()
    message.encode()
    return bytes(message.data).hex()


def main() -> int:
    request: Request = json.load(sys.stdin)
    _complete_pyroute2()
    if request["build"]:
        try:
            with NFTSocket() as socket:
                socket.nlm_request_batch(transaction(request))
        except (NetlinkError, OSError) as error:
            code = getattr(error, "code", None) or error.errno or 0
            sys.stderr.write(f"nf_tables: {errno.errorcode.get(code, error)}\n")
            absent = (errno.EPROTONOSUPPORT, errno.EOPNOTSUPP, errno.EAFNOSUPPORT)
            return NO_NFTABLES if code in absent else 1
    encoded = {name: _encode(message) for name, message in templates(request["table"]).items()}
    json.dump(encoded, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
