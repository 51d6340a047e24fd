"""An agent's tools: HTTP requests, MCP servers, builtin tools, and the check of their arguments."""
