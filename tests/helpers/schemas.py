"""The JSON schemas of the OCI image specification, written down from its tables, and layouts held against them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from tests.helpers.layouts import CONFIG, INDEX, MANIFEST

_FOLDER = Path(__file__).parent.parent / "golden" / "oci-schemas"

#: What of a layout's blobs is a document, and which schema describes it. Others have content of their own.
_SCHEMAS = {MANIFEST: "manifest", INDEX: "index", CONFIG: "config"}


class Schemas:
    """The schemas by name: descriptor, manifest, index, config, layout."""

    def __init__(self) -> None:
        documents = {path.name: json.loads(path.read_text()) for path in _FOLDER.glob("*.json")}
        resources = [(document["$id"], Resource.from_contents(document)) for document in documents.values()]
        registry: Registry[Any] = Registry().with_resources(resources)
        self._validators: dict[str, Draft202012Validator] = {}
        for name, document in documents.items():
            Draft202012Validator.check_schema(document)
            self._validators[name.removesuffix(".json")] = Draft202012Validator(document, registry=registry)

    def faults(self, name: str, document: object) -> list[str]:
        """Return what is wrong with a document, each with its place in it."""
        errors = self._validators[name].iter_errors(document)
        return [f"{name} {error.json_path}: {error.message}" for error in errors]

    def layout_faults(self, layout: Path) -> tuple[list[str], list[str]]:
        """Return the schemas that documents of the layout were held against, sorted, and all that is wrong.

        Every blob is there with its size and digest, and every document that index.json leads to is looked at.
        """
        used = ["index", "layout"]
        index = json.loads((layout / "index.json").read_text())
        wrong = self.faults("layout", json.loads((layout / "oci-layout").read_text())) + self.faults("index", index)
        waiting = list(index["manifests"])
        while waiting:
            descriptor = waiting.pop()
            wrong += self.faults("descriptor", descriptor)
            data = (layout / "blobs" / descriptor["digest"].replace(":", "/", 1)).read_bytes()
            if (hashlib.sha256(data).hexdigest(), len(data)) != (descriptor["digest"][7:], descriptor["size"]):
                wrong.append(f"{descriptor['digest']} has other content")
            if name := _SCHEMAS.get(descriptor["mediaType"]):
                document = json.loads(data)
                used.append(name)
                wrong += self.faults(name, document)
                waiting += [*document.get("manifests", ()), *document.get("layers", ())]
                waiting += [document["config"]] if name == "manifest" else []
        return sorted(used), wrong
