"""`diagnose`: what of lamina works on this machine for this user, why not, and what would mend it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from lamina.api.surroundings import store_root
from lamina.doctor.diagnose import Diagnosis, from_plain
from lamina.doctor.diagnose import diagnose as diagnose_here
from lamina.ids.map import HOST, IdMap
from lamina.ids.worker import Helper

if TYPE_CHECKING:
    from lamina.ids.worker import Worker


def diagnose(root: str | os.PathLike[str] | None = None, *, worker: Callable[[IdMap], Worker] = Helper) -> Diagnosis:
    """Try what lamina needs, and return what works.

    `root` is the store's directory, as for `Store`; one that does not exist is not made. Everything is tried in
    processes and namespaces of their own, and nothing stays. It takes about a second.
    """
    place = worker(HOST)  # each probe enters the map that it needs
    try:
        return from_plain(place.call(diagnose_here, root=store_root(root)))
    finally:
        place.close()
