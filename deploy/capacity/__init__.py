"""How many processes a load needs, from measured unit costs, and which part is the limit at each step."""
