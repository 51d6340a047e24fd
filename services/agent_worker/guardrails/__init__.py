"""An agent's guardrails: checks of what users say to a model, and of what a model says to a client."""
