"""API keys, stored as digests."""
