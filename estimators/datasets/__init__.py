"""The named data sets and the ways to read one's own: one file each."""
