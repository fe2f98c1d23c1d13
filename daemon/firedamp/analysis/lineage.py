# SPDX-License-Identifier: Apache-2.0
"""Below whom a process runs.

`AncestorImage` lists what the parent, its parent and so on up to PID 1 run. A process cannot
choose its ancestors, but it can start a program that starts others for it: a package manager
runs what its options say. So a policy that exempts by an ancestor should ask for more besides.
"""

from firedamp.analysis.base import FieldValue
from firedamp.context.process import Observed


def ancestor_images(observed: Observed) -> FieldValue:
    """Paths, the parent's first, each once; None where no ancestor is known."""
    tree = observed.host.tree
    parent = tree.get(observed.process.parent)
    images = [parent.image, *(each.image for each in tree.ancestors(parent.key))]
    return tuple(dict.fromkeys(image for image in images if image)) or None
