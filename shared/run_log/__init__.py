"""The run log: one short-lived Redis stream per turn, and a channel of the same name that publishes the same frames."""
