# SPDX-License-Identifier: Apache-2.0
"""What exit statuses mean; scripts rely on them."""

from typing import Final

OK: Final = 0
PROBLEM: Final = 1
"""Something was found to be wrong, or could not be done."""
USAGE: Final = 2
"""The arguments make no sense; argparse's own status."""
UNREACHABLE: Final = 3
"""There is no daemon to ask."""
