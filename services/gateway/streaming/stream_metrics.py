"""What a gateway counts of its streams. Nothing here is touched by a delta that is forwarded."""

from typing import Final

from prometheus_client import Counter

STREAMS: Final = Counter(
    "parley_streams_total",
    "Streams of turns that were started; `resumed`: behind a frame that the client had",
    ["kind"],
)
STREAM_GAPS: Final = Counter(
    "parley_stream_gaps_total",
    "Times that a stream read from the log what it had missed; `behind`: its buffer was full, `missing`: a published "
    "frame did not follow the one before",
    ["reason"],
)
SLOW_READERS: Final = Counter(
    "parley_slow_readers_total", "Streams that were disconnected because their client did not read in time"
)
