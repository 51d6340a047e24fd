"""Webhooks out: endpoints, the events that documents bring along, and their deliveries."""
