"""The loops of webhooks: one keeps the list of endpoints and relays events, one sends. Neither touches a turn."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from services.history.webhooks.dispatcher import Dispatcher
from services.history.webhooks.relay import Relay
from services.history.webhooks.subscriptions import Subscriptions
from shared.contracts.errors import ApiError
from shared.log import get_logger
from shared.tasks import BackgroundLoops

log = get_logger()

EVERY_S: Final = 1.0
# Without any endpoint there may still be events and deliveries of endpoints that are gone.
IDLE_EVERY_S: Final = 60.0
STALE_S: Final = 30.0


class WebhookLoops:
    def __init__(self, subscriptions: Subscriptions, relay: Relay, dispatcher: Dispatcher) -> None:
        self._subscriptions = subscriptions
        self._relay = relay
        self._dispatcher = dispatcher
        self.loops = BackgroundLoops()

    async def __aenter__(self) -> Self:
        self.loops.start("webhook_relay", self._relay_on(), stale_after_s=STALE_S)
        self.loops.start("webhook_sender", self._send_on(), stale_after_s=STALE_S)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cancelled: a delivery under way is tried again when its lease has passed."""
        await self.loops.end()
        await self._dispatcher.end()

    async def _relay_on(self) -> None:
        """Only with a list that was just read: without it, the relay would drop events as if nobody asked for them."""
        relayed = 0.0
        while True:
            if await self._step("webhook_relay", self._refresh) and (
                self._subscriptions.any or time.monotonic() - relayed > IDLE_EVERY_S
            ):
                while await self._step("webhook_relay", self._relay.round):
                    pass
                relayed = time.monotonic()
            await self._pause()

    async def _refresh(self) -> bool:
        await self._subscriptions.refresh()
        return True

    async def _send_on(self) -> None:
        sent = 0.0
        while True:
            if self._subscriptions.any or time.monotonic() - sent > IDLE_EVERY_S:
                await self._step("webhook_sender", self._dispatcher.round)
                sent = time.monotonic()
            else:
                self.loops.succeeded("webhook_sender")
            await self._pause()

    async def _step(self, name: str, work: Callable[[], Awaitable[int | bool]]) -> bool:
        """Whether it did anything, so that there may be more. An outage is waited out, a fault is told."""
        try:
            found = await work()
        except ApiError as error:
            log.warning("webhooks_postponed", loop=name, error=str(error.code))
        except Exception:
            log.exception("webhooks_failed", loop=name)
        else:
            self.loops.succeeded(name)
            return bool(found)
        return False

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(EVERY_S):
                await self.loops.stopping.wait()
