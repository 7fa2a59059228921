"""Zero-cost proxies, one a file: what an untrained network says of how it would train."""
