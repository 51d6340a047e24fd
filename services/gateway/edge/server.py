"""The server of the public application."""

from shared.web.server import QuietRunner


class PublicRunner(QuietRunner):
    """Serves the public application."""

    __slots__ = ()
