"""The kernel's interface: the only package with ctypes.

A wrapper has the system call's own name and argument order, takes and gives Python types, and holds no policy. Failures
are `OSError` with the kernel's errno. Everything here acts on the calling process; nothing is done at import.
"""
