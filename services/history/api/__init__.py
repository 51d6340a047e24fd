"""The internal HTTP API: one router per noun.

To add a noun: write its rules in a room of their own (`services/history/<nouns>/`), add it to `Nouns` in nouns.py,
write `api/<nouns>.py` with its handlers and its ROUTES, and name these in routes.py. Handlers parse and answer; rules
live in the room.
"""
