"""The widget's files: its TypeScript sources, what they are built into, and how the gateway serves it."""
