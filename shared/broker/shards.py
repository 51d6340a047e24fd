"""Which of the stream Redises holds a turn's log and channel."""

from zlib import crc32


def shard_of(turn_id: str, shards: int) -> int:
    """The index of the turn's stream Redis. Every process must be given the same list of URLs, in the same order."""
    return crc32(turn_id.encode()) % shards
