"""Turns: how one is admitted, claimed, attempted, ended and erased."""
