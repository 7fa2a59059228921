"""Estimators: how good a design is, and at what cost. Knows spaces; knows no search."""
