"""AG-UI 1.0: a run of an agent as a stream of events. A thread is a session, a run is a turn."""
