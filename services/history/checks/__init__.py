"""Checks: an agent's tests. They are stored, run as ordinary turns, evaluated, and asked before publishing."""
