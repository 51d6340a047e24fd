"""Backups: all documents and blobs as files, and the way back into an empty database."""
