# SPDX-License-Identifier: Apache-2.0
"""Every error this package raises on purpose.

FiredampError
├── ConfigError       the operator must fix a file or the host; the daemon refuses to start
├── PolicyError       a policy set is wrong; it is refused whole and the old set stays
├── DecodeError       one record is malformed; it is counted and dropped
├── SourceError       a source of events cannot start; the next best hook is tried
└── ActionError       a response failed; recorded, and the next action still runs
    └── Refused       a guard said no; recorded with its reason, never retried
"""


class FiredampError(Exception):
    """Base of all errors raised on purpose."""


class ConfigError(FiredampError):
    """A setting or the host is not fit to run; the text names file, line and key."""


class PolicyError(FiredampError):
    """A policy file is not fit to use; the text names file, line and key."""


class DecodeError(FiredampError):
    """A record from the kernel does not have the form that it claims."""


class SourceError(FiredampError):
    """A hook or stream of events cannot be had on this host; the text says what is missing."""


class ActionError(FiredampError):
    """A response could not be carried out; the text says which call failed and why."""


class Refused(ActionError):  # noqa: N818 - a refusal is an outcome that guards produce, not a fault
    """A guard stands before the action; the text is the reason that goes into the ledger."""


class ControlError(FiredampError):
    """The daemon did not do what a command asked of it; the text is the daemon's."""


class ControlUnavailable(ControlError):  # noqa: N818 - says what is so, as Refused does
    """No daemon answers at the control socket."""


class Spared(Refused):
    """A guard stands before the process, and not before its addresses."""
