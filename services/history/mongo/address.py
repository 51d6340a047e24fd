"""The connection string, judged at the start. Nothing is looked up or connected, and no error repeats a password."""

import warnings
from typing import Final

from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

_SCHEMES: Final = ("mongodb", "mongodb+srv")
_ENCODE: Final = "user and password must be percent-encoded: @ is %40, / is %2F, : is %3A, % is %25"


def check(uri: str) -> None:
    """Raises ValueError, with what to change in one line. Whether the servers can be found shows later."""
    scheme, _, rest = uri.partition("://")
    if scheme not in _SCHEMES or not rest:
        raise ValueError("must begin with mongodb:// or mongodb+srv://")
    end = min((at for mark in "/?" if (at := rest.find(mark)) >= 0), default=len(rest))
    user, _, hosts = rest[:end].rpartition("@")
    if "@" in rest[end:].partition("?")[0] or any(mark in user for mark in "@ "):
        raise ValueError(_ENCODE)
    names = hosts.split(",")
    if any(not name or name != name.strip() or " " in name for name in names):
        raise ValueError("must name servers as host:port, separated by commas without spaces")
    if scheme == "mongodb+srv" and (len(names) > 1 or ":" in hosts or "directconnection=true" in rest.lower()):
        raise ValueError("mongodb+srv:// takes one name, no port and no directConnection: DNS names the servers")
    # Without user and password, so that no error can repeat them; of both schemes the options are the same.
    _check_parts(f"mongodb://{hosts}{rest[end:]}")
    if user:
        _check_user(user)


def _check_parts(uri: str) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # As for a compressor that is not installed: the driver then does without.
            parse_uri(uri)
    except OSError as error:
        raise ValueError(f"names a file that cannot be read: {error.filename}") from None
    except (PyMongoError, ValueError) as error:
        text = str(error).partition(". Did you mean")[0]
        raise ValueError(f"is not a connection string of MongoDB: {text}") from None


def _check_user(user: str) -> None:
    try:
        parse_uri(f"mongodb://{user}@host")
    except (PyMongoError, ValueError):
        raise ValueError(_ENCODE) from None
