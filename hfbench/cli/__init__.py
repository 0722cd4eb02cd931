"""Command line: options, help and exit status."""

RESUMED = ("run", "sweep", "import", "compare")  # commands that go on from what they recorded before
