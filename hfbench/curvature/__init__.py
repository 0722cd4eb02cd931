"""A model linearised at a batch: products with J, Jᵀ and G, per-case moments, work counted."""
