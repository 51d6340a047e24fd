import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from services.gateway.edge.client_address import client_address, parse_networks

TRUSTED = parse_networks("10.0.0.0/8, 2001:db8:1::/48")


def found(peer: str, *headers: tuple[str, str], trusted: bool = True) -> str:
    proxied = CIMultiDictProxy(CIMultiDict(headers))
    return str(client_address(peer, proxied, TRUSTED if trusted else ()))


@pytest.mark.parametrize(
    ("peer", "headers", "expected"),
    [
        ("10.0.0.1", (), "10.0.0.1"),
        ("10.0.0.1", (("X-Forwarded-For", "198.51.100.7"),), "198.51.100.7"),
        ("10.0.0.1", (("X-Forwarded-For", "1.1.1.1, 198.51.100.7, 10.0.0.2"),), "198.51.100.7"),
        ("10.0.0.1", (("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-For", "198.51.100.7")), "198.51.100.7"),
        ("10.0.0.1", (("X-Forwarded-For", "198.51.100.7:4711"),), "198.51.100.7"),
        ("10.0.0.1", (("X-Forwarded-For", "1.1.1.1, unknown"),), "10.0.0.1"),
        ("10.0.0.1", (("X-Forwarded-For", "1.1.1.1, unknown, 10.0.0.2"),), "10.0.0.2"),
        ("10.0.0.1", (("X-Forwarded-For", "10.0.0.3, 10.0.0.2"),), "10.0.0.3"),
        ("10.0.0.1", (("X-Forwarded-For", ""),), "10.0.0.1"),
        ("10.0.0.1", (("Forwarded", "for=198.51.100.7;proto=https;by=10.0.0.1"),), "198.51.100.7"),
        ("10.0.0.1", (("Forwarded", 'for=1.1.1.1, For="[2001:db8:2::7]:4711"'),), "2001:db8:2::7"),
        ("10.0.0.1", (("Forwarded", 'for=198.51.100.7;host="a,b"'),), "198.51.100.7"),
        ("10.0.0.1", (("Forwarded", "for=1.1.1.1, for=_hidden"),), "10.0.0.1"),
        ("10.0.0.1", (("Forwarded", "for=1.1.1.1, proto=https"),), "10.0.0.1"),
        ("2001:db8:1::9", (("X-Forwarded-For", "2001:db8:2::7"),), "2001:db8:2::7"),
        ("::ffff:10.0.0.1", (("X-Forwarded-For", "198.51.100.7"),), "198.51.100.7"),
        ("203.0.113.5", (("X-Forwarded-For", "198.51.100.7"), ("Forwarded", "for=198.51.100.8")), "203.0.113.5"),
        ("", (("X-Forwarded-For", "198.51.100.7"),), "None"),
    ],
)
def test_a_forwarding_header_counts_as_far_as_trusted_proxies_wrote_it(
    peer: str, headers: tuple[tuple[str, str], ...], expected: str
) -> None:
    assert found(peer, *headers) == expected


def test_two_headers_that_disagree_are_both_disbelieved() -> None:
    forwarded, other = ("Forwarded", "for=198.51.100.7"), ("X-Forwarded-For", "198.51.100.8")
    assert found("10.0.0.1", forwarded, other) == "10.0.0.1"
    assert found("10.0.0.1", forwarded, ("X-Forwarded-For", "198.51.100.7")) == "198.51.100.7"


def test_without_trusted_proxies_no_header_is_believed() -> None:
    assert found("10.0.0.1", ("X-Forwarded-For", "198.51.100.7"), trusted=False) == "10.0.0.1"


def test_a_long_chain_is_read_only_so_far() -> None:
    chain = ", ".join(["198.51.100.7"] + ["10.0.0.2"] * 1000)
    assert found("10.0.0.1", ("X-Forwarded-For", chain)) == "10.0.0.2"


@pytest.mark.parametrize("text", ["10.0.0.0/33", "proxy", "10.0.0.1/8"])
def test_a_network_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_networks(text)
