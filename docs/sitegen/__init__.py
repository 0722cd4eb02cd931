"""Documentation made from the code: `python -m docs.sitegen` writes it into docs/, where it is committed.

`pages.generated()` are the reference pages, `result_tables.filled()` the tables of results. `docs/hook.py` shows docs/
with mkdocs; `python -m docs.sitegen OUT` writes a copy for any other builder. Nothing here needs mkdocs.
"""
