"""Studies: a TOML file each, and the published results of some."""
