"""The demo: an agent, its documents and tool, and the stand-in models behind an OpenAI-compatible server."""
