"""A folder of pictures of every odd kind."""
