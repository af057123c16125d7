"""Giving the cache of a build away: an artifact in an image layout, or at a registry.

Blobs go before the manifest that names them and the layout's index comes last, so that what fails leaves the old cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from lamina.build.cached import Say, StepCache, Taken
from lamina.build.cachefile import CACHE_CONFIG, CacheDocument, CachedStep, encode_cache
from lamina.build.cachemounts import pack_mounts
from lamina.build.cachespec import CacheTarget
from lamina.errors import LaminaError
from lamina.events import ignore
from lamina.oci.descriptor import Descriptor
from lamina.store.layers import LayerRecord, read_layer
from lamina.transfer.give import StoreSource
from lamina.transfer.graph import Copier
from lamina.transfer.pull import AT_ONCE
from lamina.transfer.remote import open_repository
from lamina.transfer.sink import open_directory_sink

if TYPE_CHECKING:
    from lamina.ids.worker import Worker
    from lamina.store.staging import Staging


def export_caches(
    staging: Staging,
    worker: Worker,
    cache: StepCache,
    result: Iterable[str],
    targets: Iterable[CacheTarget],
    *,
    environ: Mapping[str, str],
    say: Say,
) -> None:
    """Write the steps of a build to all `targets`; `result` are the keys of the steps that the result consists of."""
    chain = list(result)
    for target in targets:
        keys = sorted(cache.taken) if target.mode == "max" else [key for key in chain if key in cache.taken]
        steps = [cache.taken[key] for key in keys]
        try:
            mounts = pack_mounts(staging, worker, cache.mounts) if target.place.cache_mounts else []
            source = StoreSource(staging, worker, compression=target.compression, task="cache", on_event=ignore)
            manifest = _add(staging, source, steps, mounts)
            _send(source, manifest, target, environ)
        except LaminaError as error:
            if not target.ignore_error:
                raise
            say(f"the cache was not written: {error}")


def _add(
    staging: Staging, source: StoreSource, steps: list[Taken], mounts: list[tuple[str, LayerRecord]]
) -> Descriptor:
    layers: dict[str, LayerRecord] = {}
    listed = []
    for step in steps:
        record = step.record
        layer = read_layer(staging.layout, record.layer) if record.layer else None
        if layer is not None:
            layers[layer.diff_id] = layer
        listed.append(
            CachedStep(record.key, layer.diff_id if layer else "", record.created, record.parts, step.identities)
        )
    layers |= {str(layer.diff_id): layer for _, layer in mounts}
    document = CacheDocument(
        tuple(listed),
        tuple(layer.diff_id for layer in layers.values()),
        tuple((name, str(layer.diff_id)) for name, layer in mounts),
    )
    return source.add_artifact(CACHE_CONFIG, encode_cache(document), list(layers.values()))


def _send(source: StoreSource, manifest: Descriptor, target: CacheTarget, environ: Mapping[str, str]) -> None:
    place = target.place
    if place.reference is None:
        sink = open_directory_sink(place.directory, place.tag)
        Copier(source, sink, "cache", ignore).copy(manifest, ())
        sink.finish()
        return
    with open_repository(environ, place.reference, pushing=True) as repository:
        repository.greet()
        Copier(source, repository, "cache", ignore, AT_ONCE).copy(manifest, (place.reference,))
