# SPDX-License-Identifier: Apache-2.0
"""Where the parts of an installation live.

Probes and policies come with the code and are only read. There are three ways to
have the code, tried in this order:

    a source checkout       <repository>/probes, <repository>/policies
    a wheel                 firedamp/_data/probes, firedamp/_data/policies
    the Debian package      /usr/share/firedamp/probes, /usr/share/firedamp/policies

What the administrator writes and what the daemon writes lies in the same places
however it was installed. Nothing here creates a directory.
"""

from pathlib import Path

from firedamp.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parent
_SHARE = Path("/usr/share/firedamp")


def probes_dir() -> Path:
    """The C sources of the probes; absolute, as bcc needs it.

    Raises:
        ConfigError: the installation is incomplete.
    """
    return _shipped("probes")


def policies_dir() -> Path:
    """The policies that come with this version; `local_policies_dir()` overrides them.

    Raises:
        ConfigError: the installation is incomplete.
    """
    return _shipped("policies")


def config_dir() -> Path:
    """Everything the administrator writes."""
    return Path("/etc/firedamp")


def config_file() -> Path:
    """The daemon's settings."""
    return config_dir() / "firedamp.yaml"


def config_dropins_dir() -> Path:
    """Settings laid over `config_file()`, file by file in the order of their names."""
    return config_dir() / "conf.d"


def local_policies_dir() -> Path:
    """Policies of this site; one with the id of a shipped policy replaces it."""
    return config_dir() / "policies"


def filters_dir() -> Path:
    """Exceptions of this site, as Sigma filters."""
    return config_dir() / "filters"


def state_dir() -> Path:
    """What must survive a reboot, unless the settings say otherwise.

    Only root may look inside: evidence and quarantined files are kept here.
    """
    return Path("/var/lib/firedamp")


def runtime_dir() -> Path:
    """What must not survive a reboot, unless the settings say otherwise."""
    return Path("/run/firedamp")


def control_socket(runtime: Path) -> Path:
    """Where the command line talks to the daemon whose runtime directory this is."""
    return runtime / "control.sock"


def _shipped(part: str) -> Path:
    for place in _places():
        if (place / part).is_dir():
            return place / part
    looked = ", ".join(str(place / part) for place in _places())
    raise ConfigError(f"no {part} in this installation; looked for {looked}")


def _places() -> list[Path]:
    places = [_PACKAGE / "_data", _SHARE]
    root = _PACKAGE.parents[1]
    # In a checkout the sources are what is being worked on, so they come first. The
    # check must not be fooled by a directory that merely lies beside an installed package.
    if _PACKAGE.parent.name == "daemon" and (root / "pyproject.toml").is_file():
        places.insert(0, root)
    return places
