"""`python -m hfbench`: the command `hfbench`, by the Python at hand."""

from hfbench.cli.main import main

main()
