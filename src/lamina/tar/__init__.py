"""Tar as bytes: archives read and written entry by entry, and the compressed streams that they come in.

Nothing here touches a tree: what entries become is `layer`'s business, and where they lie the union's.
"""
