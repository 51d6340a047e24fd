"""Budgets in Redis: what is used and what is reserved, in counters that history can always rebuild."""
