"""The chaos suite: a stack under load, faults from a seeded schedule, and a checker of what clients received."""
