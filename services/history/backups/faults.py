"""Why a backup cannot be written, trusted or restored, in words for its operator."""


class BackupFault(Exception):
    """Its text says what to do. It names files and collections, and quotes no document."""
