"""API keys, stored as digests: secret keys of servers, publishable keys of browsers."""
