"""The append-only record of what was done to agents, keys, knowledge, budgets and personal data."""
