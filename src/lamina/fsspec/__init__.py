"""The protocol `overlay` of fsspec: writing over read-only places, with the changes kept in a directory.

    fs = fsspec.filesystem("overlay", lower="s3://bucket/prefix", upper="/local/changes")
    frame = pandas.read_csv("overlay://data.csv", storage_options={"lower": ..., "upper": ...})

Installed with the extra `lamina[fsspec]`. What is written lands in the upper, a directory in overlayfs's format, which
can be looked at, mounted over the same layers, committed as a layer, or thrown away.
"""

from __future__ import annotations

from lamina.fsspec.filesystem import OverlayFileSystem

__all__ = ["OverlayFileSystem"]
