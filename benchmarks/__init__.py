"""What must be fast, measured: `python -m benchmarks [NAME…]` prints tables and writes JSON.

Every module of this folder with a `TITLE` is a benchmark; its `rows(options)` are the rows of its table, under `COLUMNS`.
"""
