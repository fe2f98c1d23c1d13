# SPDX-License-Identifier: Apache-2.0
"""Where a running image came from, and in what kind of place it lies.

`ImageOrigin`: loaders that must not leave a file behind write the payload to a memfd, or unlink
it right before they run it. Both leave an image that no directory names, so it is the link count
that tells, whatever path was asked for.

`ImagePlace`: which doubtful properties the image's path has; a path is chosen by whoever put the
file there, so that it can raise suspicion and never lower it.

Blind spots: a payload that keeps its name until after exec; code that is loaded into a process
without exec; a file in an ordinary place that should not be there.
"""

from firedamp.analysis.base import FieldValue
from firedamp.analysis.places import place_of
from firedamp.context.process import Observed
from firedamp.events.model import ConnectionFound, ProcessFound

MEMFD_PREFIX = "/memfd:"
DELETED_SUFFIX = " (deleted)"


def image_origin(observed: Observed) -> FieldValue:
    """`memory`, `deleted` or `file`; None where the image is not known."""
    process = observed.process
    image = process.image
    if not image:
        return None
    if image.startswith(MEMFD_PREFIX):
        return "memory"
    if process.link_count == 0 or image.endswith(DELETED_SUFFIX):
        return "deleted"
    return "file"


def image_place(observed: Observed) -> FieldValue:
    """All that apply of world_writable, temporary, hidden; None where none does."""
    return place_of(observed.process.image) or None


def is_found(observed: Observed) -> FieldValue:
    """The process, or its connection, was there already when the daemon started."""
    return isinstance(observed.event, ProcessFound | ConnectionFound)
