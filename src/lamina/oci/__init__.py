"""Documents and names of the OCI image specification as values: no I/O, no clock, no environment.

`digest`, `reference` and `timestamp` are on the start-up path of `lamina run` and import next to nothing; the
documents (`descriptor`, `manifest`, `index`, `config`) are read from JSON by `document` and refuse what is not what
the specification says, with the JSON path of the offending value.

Specification: OCI image-spec 1.1 (descriptor.md, manifest.md, image-index.md, config.md, layer.md) and, for names,
the grammar of distribution's `reference` package, which is docker's.
"""
