"""How low rungs are scored under a long schedule."""
