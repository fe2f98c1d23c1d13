# SPDX-License-Identifier: Apache-2.0
"""Telling messages of mining protocols from other JSON.

A method's name is proof only where nobody else uses it (`mining.subscribe`). `login` and `job`
are anyone's words: what counts there is the structure, and where that leaves doubt, whether the
other side answers with work to do.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

MONERO, BITCOIN, ETHEREUM = "stratum-monero", "stratum-v1", "stratum-eth"
BLOCK_TEMPLATE, OTHER = "getblocktemplate", "json-rpc"

MAX_TEXT = 256
"""Of a login or an agent; what is longer is cut."""
MAX_ALGORITHMS = 64

_MINERS = re.compile(
    r"xmr|(?<!exa)miner|stak\b|randomx|cryptonight|t-rex|rigel|nicehash", re.IGNORECASE
)
# `argon2` and `sha256` alone are what people hash passwords with.
_ALGORITHMS = re.compile(
    r"(?:rx|cn|cn-lite|cn-heavy|cn-pico|cn-extremelite|argon2)/.+"
    r"|(?:randomx|cryptonight|kawpow|ghostrider|astrobwt|panthera|yespower|ethash|etchash"
    r"|autolykos2?)(?:[/_-].*)?"
)
_BASE58 = "[1-9A-HJ-NP-Za-km-z]"
# Monero's and its kin's; shorter ones only where a coin is named before them (`XMR:4…`), for they
# could be anyone's id. A worker or a difficulty may stand behind.
_WALLET = re.compile(
    rf"(?:(?:[A-Za-z]{{2,6}}:)?{_BASE58}{{90,110}}|[A-Za-z]{{2,6}}:[0-9A-Za-z]{{25,110}}"
    r"|(?:bc1|ltc1)[0-9a-z]{25,87}|0x[0-9a-fA-F]{40})(?:[.+/@#=:].{0,100})?"
)
_HEX = re.compile(r"(?:0x)?[0-9a-fA-F]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """A message of which the dialect is known."""

    protocol: str
    method: str
    login: str = ""
    agent: str = ""
    algorithms: tuple[str, ...] = ()


@dataclass(slots=True)
class Conversation:
    """What both sides of a connection said so far."""

    dialect: str = ""
    login: str = ""
    agent: str = ""

    def recognise(self, message: object) -> Spoken | None:
        """What this message is, if it is one of mining or a login that might be."""
        if not isinstance(message, dict):
            return None
        method = message.get("method")
        if isinstance(method, str):
            reader = _METHODS.get(method)
            spoken = reader(message, method) if reader else None
        else:
            spoken = self._answer(message.get("result"))
        if spoken is None:
            return None
        return self._remember(spoken)

    def _remember(self, spoken: Spoken) -> Spoken:
        if spoken.protocol == BITCOIN and self.dialect == ETHEREUM:
            spoken = replace(spoken, protocol=ETHEREUM)  # they share most of their methods
        elif spoken.protocol != OTHER:
            self.dialect = spoken.protocol
        self.login = spoken.login or self.login
        self.agent = spoken.agent or self.agent
        return replace(spoken, login=self.login, agent=self.agent)

    def _answer(self, result: object) -> Spoken | None:
        if isinstance(result, dict):
            if _is_monero_job(result.get("job")):
                return Spoken(protocol=MONERO, method="result")
            if "blocktemplate_blob" in result or {"coinbasevalue", "bits"} <= result.keys():
                return Spoken(protocol=BLOCK_TEMPLATE, method="result")
        if isinstance(result, list):
            if _names_mining(result):
                is_ethereum = "EthereumStratum" in repr(result[:1])
                return Spoken(protocol=ETHEREUM if is_ethereum else BITCOIN, method="result")
            # A node that filters logs answers with hashes too: only who asked for work gets it.
            if self.dialect == ETHEREUM and _is_ethereum_work(result):
                return Spoken(protocol=ETHEREUM, method="result")
        return None


Json = Mapping[str, object]


def _login(message: Json, method: str) -> Spoken | None:
    params = message.get("params")
    if not isinstance(params, dict) or not isinstance(params.get("login"), str):
        return None
    login, agent = _text(params["login"]), _text(params.get("agent"))
    algorithms = _texts(params.get("algo"))
    is_wallet = _WALLET.fullmatch(login) and ("pass" in params or agent)
    is_mining = (
        is_wallet
        or "rigid" in params
        or _MINERS.search(agent)
        or any(_ALGORITHMS.fullmatch(each) for each in algorithms)
    )
    return Spoken(
        protocol=MONERO if is_mining else OTHER,
        method=method,
        login=login,
        agent=agent,
        algorithms=algorithms,
    )


def _monero_share(message: Json, method: str) -> Spoken | None:
    params = message.get("params")
    if not isinstance(params, dict):
        return None
    is_share = (
        isinstance(params.get("job_id"), str)
        and _is_hex(params.get("nonce"), 8)
        and _is_hex(params.get("result"), 64)
    )
    return Spoken(protocol=MONERO, method=method) if is_share else None


def _monero_alive(message: Json, method: str) -> Spoken | None:
    params = message.get("params")
    is_alive = isinstance(params, dict) and isinstance(params.get("id"), str)
    return Spoken(protocol=MONERO, method=method) if is_alive else None


def _monero_job(message: Json, method: str) -> Spoken | None:
    is_job = _is_monero_job(message.get("params"))
    return Spoken(protocol=MONERO, method=method) if is_job else None


def _mining(message: Json, method: str) -> Spoken | None:
    params = message.get("params")
    if isinstance(params, dict):  # of EthereumStratum/2.0.0
        return Spoken(protocol=ETHEREUM, method=method, agent=_text(params.get("agent")))
    if not isinstance(params, list):
        return Spoken(protocol=BITCOIN, method=method) if params is None else None
    first = _text(params[0]) if params else ""
    is_ethereum = any(_text(each).startswith("EthereumStratum") for each in params[:4])
    return Spoken(
        protocol=ETHEREUM if is_ethereum else BITCOIN,
        method=method,
        login=first if method in {"mining.authorize", "mining.submit"} else "",
        agent=first if method == "mining.subscribe" else "",
    )


def _ethereum(message: Json, method: str) -> Spoken | None:
    params = message.get("params")
    if params is not None and not isinstance(params, list):
        return None
    login = _text(params[0]) if params and method == "eth_submitLogin" else ""
    worker = _text(message.get("worker"))
    if login and worker:
        login = f"{login}.{worker}"
    return Spoken(protocol=ETHEREUM, method=method, login=login)


def _block_template(message: Json, method: str) -> Spoken | None:
    params = message.get("params")
    login = _text(params.get("wallet_address")) if isinstance(params, dict) else ""
    return Spoken(protocol=BLOCK_TEMPLATE, method=method, login=login)


Reader = Callable[[Json, str], Spoken | None]
_METHODS: Mapping[str, Reader] = {
    "login": _login,
    "submit": _monero_share,
    "keepalived": _monero_alive,
    "job": _monero_job,
    **dict.fromkeys(
        (
            "mining.authorize",
            "mining.bye",
            "mining.configure",
            "mining.extranonce.subscribe",
            "mining.get_transactions",
            "mining.hello",
            "mining.multi_version",
            "mining.notify",
            "mining.set",
            "mining.set_difficulty",
            "mining.set_extranonce",
            "mining.set_target",
            "mining.set_version_mask",
            "mining.submit",
            "mining.subscribe",
            "mining.suggest_difficulty",
            "mining.suggest_target",
        ),
        _mining,
    ),
    **dict.fromkeys(
        ("eth_getWork", "eth_submitHashrate", "eth_submitLogin", "eth_submitWork"), _ethereum
    ),
    **dict.fromkeys(
        ("get_block_template", "getblocktemplate", "submit_block", "submitblock"),
        _block_template,
    ),
}


def _is_monero_job(job: object) -> bool:
    return (
        isinstance(job, dict)
        and _is_hex(job.get("blob"), 64)
        and ("target" in job or "job_id" in job)
    )


def _names_mining(result: list[object]) -> bool:
    """The answer to `mining.subscribe` lists what was subscribed to, one or two levels deep."""
    first = result[0] if result else None
    if not isinstance(first, list):
        return False
    flat = [
        *first[:8],
        *(part for each in first[:8] if isinstance(each, list) for part in each[:4]),
    ]
    return any(isinstance(each, str) and each.startswith("mining.") for each in flat)


def _is_ethereum_work(result: list[object]) -> bool:
    return len(result) in (3, 4) and all(_is_hex(each, 64) for each in result[:3])


def _is_hex(value: object, digits: int) -> bool:
    """At least so many hexadecimal digits, and nothing else."""
    return (
        isinstance(value, str)
        and len(value.removeprefix("0x")) >= digits
        and _HEX.fullmatch(value) is not None
    )


def _text(value: object) -> str:
    """A string as a person wrote it: the stream was read as Latin-1."""
    if not isinstance(value, str):
        return ""
    value = value[:MAX_TEXT]
    try:
        return value.encode("latin-1").decode("utf-8", errors="replace")
    except UnicodeEncodeError:  # it was written with escapes
        return value.encode("utf-8", errors="replace").decode("utf-8")


def _texts(value: object) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(filter(None, (_text(each) for each in values[:MAX_ALGORITHMS])))
