"""Contracts between releases: what the processes of the last release said to each other, and what they could read."""
