"""What a network costs: measured (``latency``), predicted from its ops (``table``) and from its counts (``seconds``)."""
