"""The FUSE wire protocol, a session that serves it, and `serve`, which joins it with the union."""
