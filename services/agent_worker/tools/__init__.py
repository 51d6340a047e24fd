"""The agent's own tools: HTTP requests, the guard on their addresses, the check of their arguments."""
