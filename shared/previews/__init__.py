"""Requests for previews of retrieval: a gateway asks, and any worker answers, over the queue's Redis."""
