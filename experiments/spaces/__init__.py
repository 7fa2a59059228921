"""Every space: samples, mutants, exports, arithmetic."""
