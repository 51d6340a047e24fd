"""Background work: the outbox consumer, and the reconciler that repairs what was lost."""
