import re
import socket
from ipaddress import IPv6Address

import pytest

from shared.web.guard import AddressRefused, embedded_addresses, guarded_sockets, is_public
from shared.web.guard_rules import AllowList, OutgoingPolicy, UrlRefused, checked_url

POLICY = OutgoingPolicy()

NOT_PUBLIC = """
127.0.0.1 127.0.0.2 127.255.255.255 0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1
192.168.255.255
169.254.169.254 169.254.0.1 100.64.0.1 100.100.100.200 100.127.255.255 168.63.129.16 192.0.0.1 192.0.0.170 192.0.2.1
198.18.0.1
198.19.255.255 198.51.100.1 203.0.113.7 192.88.99.1 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255
::1 :: fe80::1 fe80::1%eth0 fc00::1 fd00:ec2::254 fdff::1 fec0::1 ff02::1 ff0e::1 2001:db8::1 100::1 2001::1
2001:10::1 3fff::1 5f00::1
::ffff:127.0.0.1 ::ffff:7f00:1 0:0:0:0:0:ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:a9fe:a9fe
::127.0.0.1 ::7f00:1 ::10.0.0.1 ::ffff:0:127.0.0.1 ::ffff:0:a00:1
64:ff9b::127.0.0.1 64:ff9b::a9fe:a9fe 64:ff9b::10.0.0.1 64:ff9b:1::1 64:ff9b:1::8.8.8.8
2002:7f00:1:: 2002:a00:1::1 2002:a9fe:a9fe:: 2002:c0a8:101::1
2001:0:7f00:1:: 2001:0:0a00:1::f5ff:fffe 2001:0:808:808::80ff:fffe
2a00::5efe:127.0.0.1 2a00::200:5efe:10.0.0.1
127.1 2130706433 0x7f000001 0177.0.0.1 127.0.0.1.nip.io localhost 1.2.3 1.2.3.4.5 ::g 256.1.1.1
""".split()

PUBLIC = """
8.8.8.8 1.1.1.1 93.184.216.34 172.15.0.1 172.32.0.1 192.167.0.1 100.63.255.255 100.128.0.1 169.253.0.1 198.17.0.1
223.255.255.255
2606:4700::1111 2a00:1450:4001::200e 2a00::5efe:8.8.8.8 ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808::1
""".split()

# Spellings that some resolver, somewhere, takes for an address.
STRANGE_HOSTS = """
http://127.1/ http://2130706433/ http://0x7f000001/ http://0x7f.0.0.1/ http://0177.0.0.1/ http://017700000001/ http://127.0.1/
http://0x7f.1/ http://0X7F000001/ http://127.0.0.01/ http://00127.0.0.1/ http://127.0.0.1./ http://2130706433./ http://0x/
http://①②⑦.0.0.1/ http://127。0。0。1/ http://１２７.1/ http://1.2.3.4.5/ http://example.0x7f/ http://example.1/
""".split()

REFUSED_URLS = """
ftp://example.com/ file:///etc/passwd gopher://example.com/ unix:///run/x //example.com/ /path example.com http://
http:///x https://:443/ http://user@example.com/ http://user:pass@example.com/ http://@:80/ http://example.com:22/
http://example.com:6379/ http://example.com:0/ http://example.com:99999/ javascript:alert(1) data:text/plain,x
http://[::1/ http://exam\\ple.com/ http://127.0.0.1\\@example.com/ http://[fe80::1%25eth0]:22/
""".split()


def test_there_are_enough_spellings() -> None:
    assert len(NOT_PUBLIC) + len(STRANGE_HOSTS) + len(REFUSED_URLS) >= 100


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert not is_public(address)
    with pytest.raises(AddressRefused):
        guarded_sockets()((socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)))


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_not(address: str) -> None:
    assert is_public(address)


def test_a_socket_of_the_right_kind_is_made_for_a_public_address() -> None:
    with guarded_sockets()((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 80))) as made:
        assert (made.family, made.type) == (socket.AF_INET, socket.SOCK_STREAM)


@pytest.mark.parametrize("url", STRANGE_HOSTS)
def test_an_address_in_a_strange_spelling_never_becomes_a_name(url: str) -> None:
    """Either refused, or normalised to a literal that the guard judges."""
    try:
        checked, _ = checked_url(url, POLICY)
    except UrlRefused:
        return
    assert not is_public(checked.host or "")
    assert checked.host == "127.0.0.1"


@pytest.mark.parametrize("url", REFUSED_URLS)
def test_a_url_that_no_tool_may_have_is_refused(url: str) -> None:
    with pytest.raises(UrlRefused):
        checked_url(url, POLICY)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/x?y=1",
        "http://8.8.8.8/",
        "http://[2606:4700::1111]/",
        "https://api.v2.example/",
        "https://example.com./",
        "https://my_bucket.s3.example/",
        "https://m\u00fcnchen.example/",
        f"https://{'a' * 63}.example/",
    ],
)
def test_an_ordinary_url_is_accepted(url: str) -> None:
    assert checked_url(url, POLICY)[1] is False


@pytest.mark.parametrize(
    "url",
    [
        "https://exa mple.com/",
        "https://..example.com/",
        "https://a..example/",
        f"https://{'a' * 64}.example/",
        f"https://{'a.' * 127}example/",
    ],
)
def test_a_host_that_no_server_can_have_is_refused(url: str) -> None:
    """It was stored, and every call to it failed."""
    with pytest.raises(UrlRefused):
        checked_url(url, POLICY)


ALLOWED = AllowList.parse(["127.0.0.1:9000", "Orders.internal:8080", "[::1]:9000", "mail.internal", "10.1.0.0/16"])


@pytest.mark.parametrize(
    ("url", "is_listed"),
    [
        ("http://127.0.0.1:9000/x", True),
        ("http://Orders.internal:8080/", True),
        ("http://[::1]:9000/", True),
        ("http://mail.internal:2525/", True),
        ("http://orders.internal/", False),
        ("https://orders.internal.evil.example/", False),
        ("https://mail.internal.evil.example/", False),
        ("http://10.1.2.3/", False),
    ],
)
def test_the_operators_list_names_hosts_with_or_without_a_port(url: str, is_listed: bool) -> None:
    assert checked_url(url, OutgoingPolicy(allow=ALLOWED))[1] is is_listed


@pytest.mark.parametrize(
    ("address", "is_held"),
    [("10.1.2.3", True), ("::ffff:10.1.2.3", True), ("10.2.0.1", False), ("::1", False), ("mail.internal", False)],
)
def test_the_operators_list_names_networks(address: str, is_held: bool) -> None:
    assert ALLOWED.holds(address) is is_held


@pytest.mark.parametrize("entry", ["http://host", "10.1.0.1/16", "a:b", "host:", "1.2.3.4/99", "host name"])
def test_an_entry_that_means_nothing_is_refused_by_name(entry: str) -> None:
    with pytest.raises(ValueError, match=re.escape(entry.split("/", maxsplit=1)[0].strip(":"))):
        AllowList.parse([entry])


@pytest.mark.parametrize(
    ("address", "embedded"),
    [("2002:a00:1::", ["10.0.0.1"]), ("2001:0:808:808::80ff:fffe", ["8.8.8.8", "127.0.0.1"]), ("2606:4700::1111", [])],
)
def test_embedded_addresses_are_found(address: str, embedded: list[str]) -> None:
    assert [str(each) for each in embedded_addresses(IPv6Address(address))] == embedded
