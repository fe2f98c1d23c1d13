# SPDX-License-Identifier: Apache-2.0
"""`python -m firedamp`: the same as the command `firedamp`."""

import sys

from firedamp.cli import main

if __name__ == "__main__":
    sys.exit(main())
