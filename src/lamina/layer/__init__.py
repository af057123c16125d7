"""A layer as a tar stream and as a directory of changes, and the ways between the two."""
