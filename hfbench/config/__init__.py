"""Study files: read, checked, and resolved into the runs of a study."""
