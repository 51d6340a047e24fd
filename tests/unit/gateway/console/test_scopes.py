"""The console's form for keys offers what a secret key can hold."""

import re

from services.gateway.console.pages import DIST
from shared.contracts.keys import SECRET_SCOPES


def test_the_form_offers_every_scope_of_secret_keys() -> None:
    source = (DIST.parent / "src/console/keys.tsx").read_text("utf-8")
    assert set(re.findall(r'^  "(\w+:\w+)": ', source, re.MULTILINE)) == {str(scope) for scope in SECRET_SCOPES}
