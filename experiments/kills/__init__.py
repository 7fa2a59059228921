"""Searches killed at random moments."""
