"""Signatures as Standard Webhooks 1.0 says: HMAC-SHA256 over `<id>.<timestamp>.<body>`, in three headers."""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

PREFIX: Final = "whsec_"


def signature_headers(secrets: Sequence[str], message_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """One signature per secret.

    While a secret is rotated, a receiver accepts either. Raises ValueError for what is no secret.
    """
    signed = b".".join((message_id.encode(), str(timestamp_s).encode(), body))
    digests = [hmac.new(key_of(secret), signed, hashlib.sha256).digest() for secret in secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests),
    }


def key_of(secret: str) -> bytes:
    """A secret is base64, with or without `whsec_` before it. Raises ValueError."""
    text = secret.removeprefix(PREFIX)
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
