"""OverlayFS done by ourselves: the semantics alone, with no mount and no protocol.

`tree` is the merged tree by nodes, `write` changes it, `union` offers it with the calls of `os`.
"""
