"""From published frames to one client's stream: listeners, following a turn, the stream driver and its renderers."""
