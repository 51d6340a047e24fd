"""A session's signals without a turn: heard whichever server took the session's turns."""

import asyncio

from redis.asyncio import Redis

from deploy.local.processes import free_port
from shared.ids import new_id
from shared.run_log.keys import session_channel
from shared.run_log.reader import RunLogs


async def test_a_sessions_signal_takes_the_way_that_every_list_has(redis_url: str) -> None:
    """The second server is on its way out: for half of the sessions it was signalled, and nobody listened."""
    second = f"redis://127.0.0.1:{free_port()}/0#until=2999-01-01T00:00:00Z"
    sessions = [new_id("ses") for _ in range(10)]
    async with (
        RunLogs([redis_url, second], keep_s=60) as logs,
        Redis.from_url(redis_url) as client,
        client.pubsub(ignore_subscribe_messages=True) as channel,
    ):
        for session in sessions:
            await channel.subscribe(session_channel("ws", session))
        for session in sessions:
            await logs.signal_session("ws", session)
        heard = set[str]()
        async with asyncio.timeout(10.0):
            while len(heard) < len(sessions):
                if (message := await channel.get_message(timeout=1.0)) is not None:
                    heard.add(message["channel"].decode().rpartition(":")[2])
    assert heard == set(sessions)
