"""What `inspect` shows of images and containers: everything, as plain data, by docker's names for what docker has."""

from __future__ import annotations

from lamina.api.container import Container
from lamina.api.image import Image
from lamina.api.store import Store
from lamina.oci.timestamp import format_time
from lamina.store.bundles import BundleRecord, holders, images_of, names_of_images
from lamina.store.containers import uppers_of
from lamina.store.layout import Layout


def inspect_image(image: Image) -> dict[str, object]:
    """Return everything about an image; the documented keys are those of docs/reference."""
    config = image.config
    layout = image.store.layout
    references = names_of_images(layout).get(image.record.manifest, [])
    repositories = dict.fromkeys(reference.familiar_repository for reference in references)
    layers = image.layers
    return {
        "Id": image.id,
        "RepoTags": [reference.familiar for reference in references],
        "RepoDigests": [f"{repository}@{image.record.manifest}" for repository in repositories],
        "Created": config.created,
        "Author": config.author,
        "Comment": config.history[-1].comment if config.history else "",
        "Architecture": config.platform.architecture,
        "Variant": config.platform.variant,
        "Os": config.platform.os,
        "Size": sum(layer.content for layer in layers),
        "Config": config.settings.to_object(),
        "RootFS": {"Type": "layers", "Layers": list(config.diff_ids)},
        "Manifest": image.record.manifest,
        "Layers": [
            {
                "DiffId": layer.diff_id,
                "Size": layer.size,
                "Content": layer.content,
                "Entries": layer.entries,
                "Directory": layer.directory,
            }
            for layer in layers
        ],
        "Host": image.record.host,
        "Indexes": [_index(layout, bundle) for bundle in holders(layout, [image.record.manifest])],
        **_store(image.store),
    }


def _index(layout: Layout, bundle: BundleRecord) -> dict[str, object]:
    """Return what is known of an index that an image is part of."""
    images = {image.manifest: image for image in images_of(layout, bundle)}
    return {
        "Digest": bundle.digest,
        "MediaType": bundle.media_type,
        "Images": [
            {"Manifest": digest, "Platform": platform, "Id": images[digest].id if digest in images else ""}
            for digest, platform in bundle.images
        ],
    }


def inspect_container(container: Container) -> dict[str, object]:
    """Return everything about a container; the documented keys are those of docs/reference."""
    layout, record, state = container.store.layout, container.record, container.state
    directory = container.directory
    return {
        "Id": record.id,
        "Name": record.name,
        "Created": format_time(record.created),
        "Image": record.image_id,
        "ImageName": record.image_name,
        "Path": container.command[0] if container.command else "",
        "Args": container.command[1:],
        "State": {
            "Status": container.status,
            "Running": container.status == "running",
            "ExitCode": state.exit_code,
            "StartedAt": format_time(state.started) if state.started else "",
            "FinishedAt": format_time(state.finished) if state.finished else "",
        },
        "Config": {"Image": record.image_name, "Cmd": record.command, "Labels": container.labels},
        "GraphDriver": {
            "Name": "overlay",
            "Driver": state.driver,
            "Data": {
                "LowerDirs": [layout.path("layers", name, "tree") for name in record.layers],
                "UpperDirs": {"/" + place: upper for place, upper in uppers_of(layout, record.id)},
                "WorkDir": f"{directory}/work",
                "MergedDir": f"{directory}/merged",
            },
        },
        "OverHost": record.host,
        **_store(container.store),
    }


def _store(store: Store) -> dict[str, object]:
    return {"Store": store.root, "IdMap": {"Kind": store.ids.kind, "Description": store.ids.describe()}}
