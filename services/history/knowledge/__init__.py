"""The passages that an agent version knows."""
