"""The parts of a supernet: the shared tensors, a candidate that borrows them, their training, and what a score is."""
