"""Canonical keys, and the cell space in the form of NAS-Bench-201."""
