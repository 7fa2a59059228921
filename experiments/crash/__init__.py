"""Kills, damage and many writers: what a store outlives."""
