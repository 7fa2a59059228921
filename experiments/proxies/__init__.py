"""Zero-cost proxies against trained networks."""
