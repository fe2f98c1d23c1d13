# SPDX-License-Identifier: Apache-2.0
"""firedamp sees cryptomining trojans as they act, and stops them."""

__version__ = "0.1.0"
