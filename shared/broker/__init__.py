"""The one way to Redis: connections, clients, Lua scripts, and which Redis holds a turn's log."""
