# SPDX-License-Identifier: Apache-2.0
"""The daemon's settings as plain values, with their defaults.

`firedamp.config` reads them from YAML and checks them with pydantic; this module does not
import pydantic, so that the long-lived process can hold settings without holding it.
"""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, Le

Mode = Literal["observe", "enforce"]
Strict = dict[str, str]
_STRICT: Strict = {"extra": "forbid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Where the daemon may act. Nothing set: everywhere. What is set must all be met.

    Alerts are raised for the whole host in any case.
    """

    __pydantic_config__: ClassVar[Strict] = _STRICT
    cgroups: tuple[str, ...] = ()
    """Paths below the cgroup v2 mount, such as /system.slice/redis.service; each covers all
    below it."""
    users: tuple[str, ...] = ()
    """Account names or UIDs."""
    containers: tuple[str, ...] = ()
    """Container ids, or prefixes of at least 12 characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """Which policies are loaded, and which of them may act."""

    __pydantic_config__: ClassVar[Strict] = _STRICT
    directories: tuple[str, ...] = ()
    """Searched in order; a file with the same id in a later one replaces an earlier one.
    Empty: the shipped policies, then /etc/firedamp/policies."""
    filters: tuple[str, ...] = ()
    """Directories of Sigma filters. Empty: /etc/firedamp/filters."""
    enforce: tuple[str, ...] = ()
    """Ids of policies that may act although `mode` is observe."""
    observe: tuple[str, ...] = ()
    """Ids of policies that may not act although `mode` is enforce."""
    disable: tuple[str, ...] = ()
    """Ids of policies that are not loaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedPlace:
    """A kind of place where trojans settle.

    Paths may hold shell wildcards and `~` for every account's home directory; a path that
    ends in / is a directory whose entries are watched.
    """

    __pydantic_config__: ClassVar[Strict] = _STRICT
    place: str
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Which files are watched for changes."""

    __pydantic_config__: ClassVar[Strict] = _STRICT
    roots: tuple[str, ...] = ("/",)
    """Directory trees in which the places are looked for: / is the host itself."""
    extra: tuple[WatchedPlace, ...] = ()
    """Places besides the built-in ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """How events are had."""

    __pydantic_config__: ClassVar[Strict] = _STRICT
    cgroup_root: str = ""
    """Mount point of cgroup v2. Empty: found in /proc/mounts."""
    cpu_hz: Annotated[int, Ge(1), Le(999)] = 49
    cpu_window_s: Annotated[int, Ge(2), Le(3600)] = 60
    """Length of the window over which CPU use must last to be reported."""
    cpu_cores: Annotated[float, Gt(0), Le(4096)] = 0.8
    """Cores that a process must keep busy over the window to be reported."""
    collect_ms: Annotated[int, Ge(10), Le(1000)] = 100
    """How long a record that needs no immediate look may lie in its ring."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """More kills than this in the window, and the daemon falls back to observe."""

    __pydantic_config__: ClassVar[Strict] = _STRICT
    max_kills: Annotated[int, Ge(1), Le(100_000)] = 20
    window_s: Annotated[int, Ge(1), Le(86_400)] = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """How the daemon acts, once a policy may."""

    __pydantic_config__: ClassVar[Strict] = _STRICT
    breaker: Breaker = field(default_factory=Breaker)
    block_s: Annotated[int, Ge(1), Le(31_536_000)] = 86_400
    """How long an address stays blocked."""
    on_stop: Literal["keep", "remove"] = "keep"
    """Whether blocks stay in nftables when the service stops."""
    kill_deadline_s: Annotated[float, Gt(0), Le(60)] = 2.0
    vault_max_mb: Annotated[int, Ge(1), Le(1_048_576)] = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Allow:
    """What is never acted on, besides what the guards protect anyway."""

    __pydantic_config__: ClassVar[Strict] = _STRICT
    addresses: tuple[str, ...] = ()
    """Addresses or networks that are never blocked."""
    images: tuple[str, ...] = ()
    """Paths of executables that are never frozen, killed or quarantined."""
    units: tuple[str, ...] = ()
    """systemd units whose processes are only alerted on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alerts:
    """Where alerts go."""

    __pydantic_config__: ClassVar[Strict] = _STRICT
    journal: Literal["auto", "yes", "no"] = "auto"
    """auto: the journal where one runs, else JSON lines on standard output."""
    file: str = ""
    """A JSON-lines file besides. Empty: alerts.jsonl in the state directory."""
    max_file_mb: Annotated[int, Ge(1), Le(65_536)] = 64
    """Size at which the file is set aside as FILE.1; what was there before is dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """The socket through which the command line talks to the daemon."""

    __pydantic_config__: ClassVar[Strict] = _STRICT
    group: str = ""
    """A group whose members may look (status, doctor); only root may act. Empty: only root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is recorded all the time, for `firedamp replay`."""

    __pydantic_config__: ClassVar[Strict] = _STRICT
    directory: str = ""
    """Where the stream of events is recorded. Empty: nowhere."""
    max_mb: Annotated[int, Ge(16), Le(1_048_576)] = 256
    """Room for it; the oldest is dropped to make room."""
    mask: tuple[str, ...] = ()
    """Expressions in RE2's syntax for secrets in command lines, besides the built-in ones. The
    first group is taken out; without a group, all that matches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All of firedamp.yaml."""

    __pydantic_config__: ClassVar[Strict] = _STRICT
    mode: Mode = "observe"
    scope: Scope = field(default_factory=Scope)
    policies: Policies = field(default_factory=Policies)
    watch: Watch = field(default_factory=Watch)
    sources: Sources = field(default_factory=Sources)
    response: Response = field(default_factory=Response)
    allow: Allow = field(default_factory=Allow)
    alerts: Alerts = field(default_factory=Alerts)
    control: Control = field(default_factory=Control)
    record: Record = field(default_factory=Record)
    state_directory: str = "/var/lib/firedamp"
    runtime_directory: str = "/run/firedamp"
