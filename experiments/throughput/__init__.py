"""Images per second of our loop, of the textbook's, and of the bare limit."""
