"""The public HTTP API: keys and scopes, limits, SSE. Opens no MongoDB and calls no model."""
