"""The names and the entries of the run log: what its writers and its readers agree on.

An entry's id is the frame's, `<attempt>-<seq>`, chosen by the writer. Its fields are `v`, the version of the entry, and
`f`, the frame. An entry without `v` is of version 1, which holds the frame without its id.
"""

from collections.abc import Mapping
from typing import Final

from redis.exceptions import RedisError

from shared.contracts.frames import FrameId, StreamFrame, decode_v1

VERSION: Final = 2
_VERSION_FIELD: Final = b"v"
_FRAME_FIELD: Final = b"f"


class UnknownVersion(RedisError):
    """The log was written by a newer release than this one.

    Readers wait as if the store were away, until their process is replaced.
    """


def log_key(workspace: str, turn_id: str) -> str:
    """The name of the log and of the channel.

    The workspace is part of it, so that an id alone never opens another workspace's stream.
    """
    return f"turn:{workspace}:{turn_id}"


def session_channel(workspace: str, session_id: str) -> str:
    """The channel that gets a signal whenever something about the session has been stored. Its messages are turn ids.

    It exists on every stream Redis: a turn signals on its own one.
    """
    return f"session:{workspace}:{session_id}"


def frame_of(entry_id: bytes, fields: Mapping[bytes, bytes]) -> StreamFrame:
    """Raises UnknownVersion."""
    frame_id = FrameId.parse(entry_id.decode())
    version = int(fields.get(_VERSION_FIELD, b"1"))
    if version == VERSION:
        return StreamFrame(frame_id, fields[_FRAME_FIELD])
    if version == 1:
        return decode_v1(fields[_FRAME_FIELD], frame_id)
    raise UnknownVersion(f"version {version}")
