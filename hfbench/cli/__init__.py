"""Command line: options, help and exit status."""
