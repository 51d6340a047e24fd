"""The three kinds of process. A service never imports another."""
