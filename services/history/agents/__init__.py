"""Agents: drafts that can be replaced, and numbered versions that never change."""
