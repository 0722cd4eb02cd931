"""Probes: solvers and preconditioners compared on identical frozen systems."""
