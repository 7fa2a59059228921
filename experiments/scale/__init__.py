"""The engine at the size of a cluster."""
