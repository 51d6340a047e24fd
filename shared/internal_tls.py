"""Mutual TLS for the internal API: history and its clients show each other certificates of one private authority."""

import ssl
from typing import NamedTuple


class InternalTls(NamedTuple):
    """Paths of PEM files. `ca` signs the certificates of every process; `cert` and `key` are this one's."""

    ca: str
    cert: str
    key: str

    def server(self) -> ssl.SSLContext:
        """Raises OSError for files that cannot be used (ssl.SSLError is one).

        Probes and scrapers, which ask for health and metrics only, may come without a certificate; a wrong one is
        refused in the handshake. `require_certificate` refuses them everything else.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(self.cert, self.key)
        context.load_verify_locations(self.ca)
        context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def client(self) -> ssl.SSLContext:
        """The server's certificate must have the name or address of its URL. Raises OSError like `server`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(self.cert, self.key)
        context.load_verify_locations(self.ca)
        return context
