"""Retrieval of the passages that an agent version may answer from: the protocol of every retriever and the default one."""
