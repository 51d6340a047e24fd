"""The only room that talks to MongoDB; it knows collections and indexes, and no rules of turns or sessions."""
