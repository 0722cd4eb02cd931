"""Documentation made from the code: pages, tables and figures made from it by the build.

`pages.generated()` and `pages.figures()` are all of it. `docs/hook.py` hands both to mkdocs; `python -m docs.sitegen`
writes both, beside the pages written by hand, as plain Markdown for any other builder. Nothing here needs mkdocs.
"""
