import base64
import time

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from shared.webhook_signature import signature_headers

OLD, NEW = ("whsec_" + base64.b64encode(letter * 24).decode() for letter in (b"o", b"n"))
BODY = '{"text":"schön"}'.encode()


def test_the_reference_implementation_accepts_our_signature() -> None:
    headers = signature_headers([NEW], "trn_1:abc:1", int(time.time()), BODY)
    assert Webhook(NEW).verify(BODY, headers) == {"text": "schön"}
    with pytest.raises(WebhookVerificationError):
        Webhook(OLD).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(NEW).verify(BODY + b" ", headers)


def test_while_a_secret_is_rotated_both_are_accepted() -> None:
    headers = signature_headers([NEW, OLD], "msg_1", int(time.time()), BODY)
    for secret in (OLD, NEW):
        assert Webhook(secret).verify(BODY, headers)
