"""Runs a service in which one background loop fails: `python -m tests.system.loop_ender <loop> services.<name>`."""

import runpy
import sys
from typing import Any, Final

from services.agent_worker import app as agent_worker
from services.agent_worker.knowledge.current import CurrentRetriever
from services.agent_worker.turns.previews import PreviewServer
from services.gateway.edge.stream_places import StreamPlaces
from services.gateway.streaming.disconnects import DisconnectMonitor
from services.gateway.streaming.hub import Hub
from services.gateway.streaming.queue_age import QueueAge
from services.history.reconcile.outbox import Outbox
from services.history.reconcile.reconciler import Reconciler
from services.history.webhooks.loops import WebhookLoops
from shared.broker.pubsub import PubSub
from shared.run_log.writer import _ShardWriter
from shared.turn_queue.control import ControlChannel
from shared.turn_queue.worker import LeasedWorker

# The coroutine function of each loop. The outermost one: some loops catch what happens within.
LOOPS: Final[dict[str, tuple[Any, str]]] = {
    "poll": (LeasedWorker, "_poll"),
    "renew": (LeasedWorker, "_renew"),
    "control": (ControlChannel, "run"),
    "backlog": (agent_worker, "_watch_backlog"),
    "run_log_0": (_ShardWriter, "run"),
    "previews": (PreviewServer, "serve"),
    "knowledge": (CurrentRetriever, "run"),
    "outbox": (Outbox, "_read_on"),
    "reconciler": (Reconciler, "_reconcile_forever"),
    "webhook_relay": (WebhookLoops, "_relay_on"),
    "webhook_sender": (WebhookLoops, "_send_on"),
    "pubsub_0": (PubSub, "run"),
    "heartbeats": (Hub, "_send_heartbeats"),
    "disconnects": (DisconnectMonitor, "_poll"),
    "queue_age": (QueueAge, "_watch"),
    "stream_places": (StreamPlaces, "renew"),
}


async def fail(*_: object) -> None:
    raise RuntimeError("a bug")


def main() -> None:
    loop, module = sys.argv[1:]
    owner, name = LOOPS[loop]
    if not callable(getattr(owner, name)):
        raise TypeError(name)
    setattr(owner, name, fail)
    sys.argv[1:] = []  # The service reads its own arguments.
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
