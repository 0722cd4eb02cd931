"""`python -m hfbench`: the command `hfbench`, run by the present Python."""

from hfbench.cli.main import main

main()
