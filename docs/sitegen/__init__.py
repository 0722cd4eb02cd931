"""What the documentation site says that the code knows already: pages, tables and figures made from it by the build.

`pages.generated()` and `gallery.drawn()` are all of it; `docs/hook.py` hands both to mkdocs. Nothing here needs mkdocs,
so that the tests read the same pages without it.
"""
