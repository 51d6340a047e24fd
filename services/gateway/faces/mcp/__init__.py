"""Agents as tools of an MCP server: revision 2026-07-28, and 2025-11-25 and 2025-06-18 with their handshake."""
