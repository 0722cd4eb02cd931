"""Interchangeable parts: protocols, hyper-parameters, registry, families and plugin files."""
