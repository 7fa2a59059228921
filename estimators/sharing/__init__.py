"""The parts of a supernet: the shared tensors, a candidate that borrows them, their training, and what a score is."""

FILE = "supernet.safetensors"  # beside the folder of the data set, if no other file is named
