"""Running turns: claim one, decide its steps, ask the model, run tools, hand over the result."""
