"""The system of record: the only door to MongoDB. Calls no model."""
