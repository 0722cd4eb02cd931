"""Vectors, scalars, precision and sums over ranks."""
