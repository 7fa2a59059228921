"""Scripts that show a claim; imported by nobody."""
