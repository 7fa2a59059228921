"""Whole runs of the main job on real data."""
