"""Many runs: processes, clusters, progress and interruptions."""
