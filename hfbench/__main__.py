"""`python -m hfbench`: the command `hfbench`, by the Python at hand."""

from hfbench.cli import main

main()
