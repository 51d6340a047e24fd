"""Runs services in which one background loop fails: `python -m tests.system.loop_ender <directory>`.

For each loop the directory gets a file of what its service printed, of what it said of errors, and of its exit code.
"""

import multiprocessing
import os
import runpy
import sys
from pathlib import Path
from typing import Any, Final

from deploy.local.processes import free_port
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

# The module that runs each loop, and the loop's coroutine function. The outermost one: some catch what happens within.
LOOPS: Final[dict[str, tuple[str, Any, str]]] = {
    "poll": ("services.agent_worker", LeasedWorker, "_poll"),
    "renew": ("services.agent_worker", LeasedWorker, "_renew"),
    "control": ("services.agent_worker", ControlChannel, "run"),
    "backlog": ("services.agent_worker", agent_worker, "_watch_backlog"),
    "run_log_0": ("services.agent_worker", _ShardWriter, "run"),
    "previews": ("services.agent_worker", PreviewServer, "serve"),
    "knowledge": ("services.agent_worker", CurrentRetriever, "run"),
    "outbox": ("services.history", Outbox, "_read_on"),
    "reconciler": ("services.history", Reconciler, "_reconcile_forever"),
    "webhook_relay": ("services.history", WebhookLoops, "_relay_on"),
    "webhook_sender": ("services.history", WebhookLoops, "_send_on"),
    "pubsub_0": ("services.gateway", PubSub, "run"),
    "heartbeats": ("services.gateway", Hub, "_send_heartbeats"),
    "disconnects": ("services.gateway", DisconnectMonitor, "_poll"),
    "queue_age": ("services.gateway", QueueAge, "_watch"),
    "stream_places": ("services.gateway", StreamPlaces, "renew"),
}
# Processes side by side: enough to hide that they wait, and few enough to leave a core to other tests.
AT_ONCE: Final = 4
LIMIT_S: Final = 60.0


async def fail(*_: object) -> None:
    raise RuntimeError("a bug")


def serve(loop: str, directory: Path) -> None:
    """The service, from its first line to its end, in a process of its own."""
    for descriptor, name in ((1, "output"), (2, "errors")):
        os.dup2(os.open(directory / f"{loop}.{name}", os.O_WRONLY | os.O_CREAT), descriptor)
    module, owner, name = LOOPS[loop]
    if not callable(getattr(owner, name)):
        raise TypeError(name)
    setattr(owner, name, fail)
    os.environ["PARLEY_PORT"] = str(free_port())
    if module == "services.gateway":
        os.environ["PARLEY_PRIVATE_PORT"] = str(free_port())
    sys.argv[1:] = []  # The service reads its own arguments.
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def main() -> None:
    """Forks: importing a service takes more of a core than all that it does here."""
    directory, waiting = Path(sys.argv[1]), list(LOOPS)
    fork = multiprocessing.get_context("fork")
    while waiting:
        loops, waiting = waiting[:AT_ONCE], waiting[AT_ONCE:]
        children = {loop: fork.Process(target=serve, args=(loop, directory)) for loop in loops}
        for child in children.values():
            child.start()
        for loop, child in children.items():
            child.join(LIMIT_S)
            child.kill()
            child.join()
            (directory / f"{loop}.status").write_text(str(child.exitcode))


if __name__ == "__main__":
    main()
