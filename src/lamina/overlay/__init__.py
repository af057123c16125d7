"""OverlayFS: the marks on disk, the stack as a value, mounting it, and choosing who does it."""
