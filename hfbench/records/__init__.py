"""Records on disk: run folders, traces, archives and locks."""
