"""Erasures that take a while: end users with all that is held of them, and what retention no longer allows."""
