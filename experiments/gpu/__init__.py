"""The CUDA side, checked and timed."""
