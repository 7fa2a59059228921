"""Everything dies at random moments."""
