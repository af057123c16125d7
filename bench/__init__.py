"""Measurements of lamina beside other programs: `make bench`."""
