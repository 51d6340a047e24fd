"""A rolling upgrade from an earlier release, and back, under load."""
