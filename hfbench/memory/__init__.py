"""Bytes of tensors: counted while they live, and predicted before a step."""
