"""Workspaces: created, listed, and deleted with all that belongs to them."""
