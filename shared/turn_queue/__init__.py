"""The turn queue: which turns wait, which are running, and who holds each one's lease."""
