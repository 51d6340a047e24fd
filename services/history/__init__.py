"""The history service: turns, sessions, agents and keys in MongoDB, behind an internal API."""
