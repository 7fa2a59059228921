"""Maths of hyperparameter optimisation, on arrays only: knows no trial and no space."""
