"""Agents for other agents: A2A 1.0, as JSON-RPC and as HTTP+JSON. A context is a session, a task is a turn."""
