"""Schedulers, ours and others', in simulation on recorded learning curves."""
