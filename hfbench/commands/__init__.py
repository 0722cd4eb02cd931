"""Commands: one file per command of `hfbench --help`."""
