"""Two workers with a core each against one with both."""
