"""Runs turns: model, tools, knowledge. Opens no MongoDB and serves no public."""
