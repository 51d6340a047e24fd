"""The routes of sessions and turns, with their schemas. Each module exports its `ROUTES`."""
