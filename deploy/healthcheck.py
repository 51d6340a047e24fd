"""The image's health check: asks the process of this container whether its dependencies answer. Status 0: they do."""

import os
import ssl
import sys
import urllib.request
from collections.abc import Mapping
from typing import Final

TIMEOUT_S: Final = 3.0
# The image starts a gateway unless it is told otherwise.
GATEWAYS_PORT: Final = "8080"


def addresses(environment: Mapping[str, str]) -> list[str]:
    """History speaks nothing but TLS when internal TLS is set up; the other processes speak plain HTTP all the same."""
    port = environment.get("PARLEY_PORT") or GATEWAYS_PORT
    schemes = ["http", "https"] if environment.get("PARLEY_INTERNAL_TLS_CERT") else ["http"]
    return [f"{scheme}://127.0.0.1:{port}/readyz" for scheme in schemes]


def is_ready(url: str) -> bool:
    # The certificate names history, not this address, and who answers on the container's own loopback is known.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S, context=context):  # noqa: S310 - http or https, see above
            return True
    except OSError as error:
        sys.stderr.write(f"{url}: {error}\n")
        return False


if __name__ == "__main__":
    sys.exit(0 if any(is_ready(url) for url in addresses(os.environ)) else 1)
