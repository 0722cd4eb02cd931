"""Benchmarks of time and memory: `python -m benchmarks [NAME…]` prints tables and writes JSON.

Every module of this folder with a `TITLE` is a benchmark; its `rows(options)` fill a table with the headings `COLUMNS`.
"""
