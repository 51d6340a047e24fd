import pytest

from shared.contracts.origins import is_allowed, origin_of


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://www.example.com", "https://www.example.com"),
        ("HTTPS://WWW.Example.COM", "https://www.example.com"),
        ("https://example.com:443", "https://example.com"),
        ("http://example.com:80", "http://example.com"),
        ("http://example.com:443", "http://example.com:443"),
        ("https://example.com:08443", "https://example.com:8443"),
        ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
    ],
)
def test_an_origin_is_kept_as_browsers_send_it(given: str, kept: str) -> None:
    assert origin_of(given, test=False) == kept


@pytest.mark.parametrize("origin", ["null", "*", "https://*.a.example", "http://localhost:*", "https://a..b", "a\n"])
def test_what_is_no_exact_origin_is_refused(origin: str) -> None:
    with pytest.raises(ValueError):
        origin_of(origin, test=False)


def test_any_local_port_is_for_test_keys_and_means_localhost_only() -> None:
    allowed = (origin_of("http://localhost:*", test=True),)
    for origin in ("http://localhost", "http://localhost:3000"):
        assert is_allowed(origin, allowed)
    for origin in ("https://localhost:3000", "http://localhost.evil.example", "http://localhost:3000.evil", "null", ""):
        assert not is_allowed(origin, allowed)


def test_origins_are_compared_exactly() -> None:
    allowed = ("https://a.example",)
    assert is_allowed("https://a.example", allowed)
    for origin in ("http://a.example", "https://a.example:8443", "https://b.a.example", "https://a.example.evil", "*"):
        assert not is_allowed(origin, allowed)
