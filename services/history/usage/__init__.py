"""Usage: what ended turns have cost, and the ledger that keeps it when the turns are gone."""
