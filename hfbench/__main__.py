"""`python -m hfbench`: the command `hfbench`, run by the present Python."""

from hfbench.cli.entry import start

start()
