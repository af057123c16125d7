"""Images in: import of a root file system, and bootstrap of a base image from Debian's packages."""
