"""Retrieval of the passages that an agent version may answer from: the retrievers' protocol and the default one."""
