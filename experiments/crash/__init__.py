"""Kills, damage and many writers: what a search and its store outlive."""
