"""Search strategies, ours and others', on tables of trained networks and on functions."""
