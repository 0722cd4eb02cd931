"""Statistics of paired runs: pairs, tests, verdicts."""
