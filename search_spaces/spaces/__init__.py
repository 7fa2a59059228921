"""The architecture spaces: one file each."""
