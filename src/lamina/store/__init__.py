"""What is on disk: a store of layers, images and containers as plain files, for any number of processes at once.

    ROOT/                          0700, one user's and one id map's
      version                      number of this format; a newer one is refused
      idmap                        the id map that the owners of the trees are in
      lock                         shared: publishing; exclusive: collecting. Held for a few file operations only
      oci-layout, index.json       the references as an OCI image layout shows them; made from refs/
      index.lock                   held while index.json is rewritten
      blobs/sha256/HEX             manifests, configs, and layers that came compressed
      refs/REGISTRY/REPOSITORY/:TAG  the digest of a manifest or index: the truth about names
      images/HEX                   one record a manifest: what a start needs of it. That it is there makes it an image
      bundles/HEX                  one record an index or artifact that is kept whole: which images, which blobs
      layers/diff-HEX/             a layer whose tar names all parents of its entries, by diff id
      layers/chain-HEX/            one that takes parents from below, by chain id
        tree/                        the changes, in overlayfs's format
        framing                      what the tar says beyond the tree: headers, order, padding
        owners                       who owns what, where the tree cannot say it
        layer                        diff id and sizes; `layer-BOOT` while it may not be on disk: of this boot only
        compressed                   digest and size of its compressed form, so that it is not made only to learn them
      containers/ID/
        record, state                what it is; how far it is
        lock                         held while it runs
        ignored                      names that runs made for their mounts, so that they are not taken for changes
        uppers                       which directories take its changes, if not `upper` alone
        upper/ work/ merged/         and what a run puts there
      names/NAME                   the id of the container of this name
      seccomp/                     compiled filters of system calls (`runtime.filters`), made again where missing
      staging/ID/                  where everything is made; alive while its directory is locked
        pins                         what the collector must not take, though nothing refers to it yet

A layer is kept once. One that we made, or that came in without compression, has no blob: its descriptor names its tar
(media type application/vnd.oci.image.layer.v1.tar, the digest is the diff id), which is made from tree and framing when
somebody wants it, and checked.

Everything is made in a staging directory, brought to disk, and renamed to its place; what has a digest in its name
never changes, so that two who publish the same are no conflict. `docs/formats/store.md` is the reference of all files.

On the start-up path: layout, staging, files, record, references, images, containers, names.
"""
