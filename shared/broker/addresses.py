"""URLs of Redis servers, plain or behind Sentinel: lists of them, their parts, and what is wrong with one.

`redis+sentinel://[user:password@]host[:port][,host[:port]…]/master-name[/db][?options]`: the hosts are Sentinels, user
and password those of the Redis servers. `rediss+sentinel://` speaks TLS with both. The options are redis-py's, and
`sentinel_username` and `sentinel_password` for Sentinels that ask for them.
"""

import re
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

SENTINEL_PORT: Final = 26379
_PLAIN: Final = ("redis", "rediss", "unix")
_SENTINEL: Final = ("redis+sentinel", "rediss+sentinel")


class SentinelAddress(NamedTuple):
    """`server` is the URL of a Redis server with everything but its host and port, which the Sentinels tell."""

    sentinels: tuple[tuple[str, int], ...]
    master: str
    server: str
    username: str | None
    password: str | None


def split_urls(text: str) -> tuple[str, ...]:
    """The URLs of a list. Only a comma before a scheme separates two: hosts of one URL are separated by commas too."""
    return tuple(url.strip(" ,") for url in re.split(r",(?=\s*[a-z+]+://)", text) if url.strip(" ,"))


def is_sentinel(url: str) -> bool:
    return url.partition("://")[0] in _SENTINEL


def sentinel_address(url: str) -> SentinelAddress:
    """Raises ValueError with a text that says what is wrong and shows nothing of the URL, which may hold a password."""
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    master, _, database = parts.path.strip("/").partition("/")
    if not master:
        raise ValueError("must name the master after the Sentinels: redis+sentinel://host:26379,host:26379/mymaster/0")
    if database and not database.isdecimal():
        raise ValueError("must end with the number of a database after the master's name, as in /mymaster/0")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    username, password = options.pop("sentinel_username", None), options.pop("sentinel_password", None)
    scheme, at = parts.scheme.partition("+")[0], "@" if credentials else ""
    query = f"?{urlencode(options)}" if options else ""
    server = f"{scheme}://{credentials}{at}server/{database or 0}{query}"
    sentinels = tuple(_host_and_port(host) for host in hosts.split(","))
    return SentinelAddress(sentinels, unquote(master), server, username, password)


def check(url: str) -> None:
    """Of one server, without the times of stream shards. Raises ValueError as `sentinel_address`."""
    if "#" in url:
        raise ValueError("has a #, which only the URLs of PARLEY_STREAM_REDIS_URLS take; in a password it is %23")
    if is_sentinel(url):
        sentinel_address(url)
        return
    parts = urlsplit(url)
    if parts.scheme not in _PLAIN:
        raise ValueError("must begin with redis://, rediss://, unix://, redis+sentinel:// or rediss+sentinel://")
    if "," in parts.netloc.rpartition("@")[2]:
        raise ValueError("names several hosts, which only redis+sentinel:// and rediss+sentinel:// take")
    if parts.scheme != "unix":
        _port(parts.netloc)


def _host_and_port(text: str) -> tuple[str, int]:
    host = urlsplit(f"//{text.strip()}").hostname
    if not host:
        raise ValueError("must have a host between all commas: redis+sentinel://host:26379,host:26379/mymaster/0")
    return host, _port(text.strip()) or SENTINEL_PORT


def _port(netloc: str) -> int | None:
    try:
        return urlsplit(f"//{netloc}").port
    except ValueError:
        raise ValueError("has a port that is not a number from 0 to 65535") from None
