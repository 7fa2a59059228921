"""What a network costs: measured (``latency``), predicted from its ops (``table``), from its counts (``seconds``)."""
