"""The HTML of `/admin`."""

import re
from base64 import b64encode
from hashlib import sha256

from services.gateway.admin.page import HEADERS, page
from shared.overview.overview import Process, overview_of


def test_texts_from_outside_are_escaped_and_the_page_has_no_script() -> None:
    hostile = '<script>alert("x")</script>'
    text = page(overview_of((Process(url=hostile, kind="unknown", state="not ready", failing=(hostile,)),), {}, {}))
    assert "<script" not in text
    assert text.count("&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;") == 2
    assert "1 of 1 processes are not ready." in text


def test_the_policy_allows_the_pages_own_style_and_nothing_else() -> None:
    style = re.search(r"<style>(.*?)</style>", page(overview_of((), {}, {})), re.DOTALL)
    assert style is not None
    digest = b64encode(sha256(style[1].encode()).digest()).decode()
    policy = HEADERS["Content-Security-Policy"]
    assert f"style-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "unsafe" not in policy
