"""Budgets: stored, checked at admission, reserved by the claim, charged when a turn ends."""
