"""The chaos suite: a whole stack under load, faults from a seeded schedule, and a checker of what the clients were told."""
