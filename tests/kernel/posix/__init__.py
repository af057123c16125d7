"""What POSIX and Linux promise of a file system, as checks whose results are compared between file systems."""
