"""Ingestion: a source's bytes become passages, in a child process with limits of memory, time and output."""
