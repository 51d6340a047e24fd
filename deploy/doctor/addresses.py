"""Addresses as an examination shows and judges them."""

from ipaddress import ip_address
from urllib.parse import urlsplit


def shown(url: str) -> str:
    """Without user, password and options: `redis://cache:6379/0`."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def crosses_the_internet(url: str) -> bool:
    """Whether a URL's host is a public address. A name says nothing: it may be one of a private network."""
    for host in urlsplit(url).netloc.rpartition("@")[2].split(","):
        try:
            if ip_address(urlsplit(f"//{host}").hostname or "").is_global:
                return True
        except ValueError:
            continue
    return False


def is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
