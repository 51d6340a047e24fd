"""`python -m services.history`: one history process."""

from services.history.app import create_app, open_dependencies
from services.history.settings import HistorySettings
from shared.log import configure, get_logger
from shared.tasks import supervise
from shared.tracing.start import tracing
from shared.web.process import app_runner, listening, run, wait_for_stop

log = get_logger()


async def serve(settings: HistorySettings) -> None:
    """Serves until a signal. Then it stops listening, finishes its writes and leaves the consumer group.

    Raises LoopEnded when a background loop ends by itself.
    """
    tls = settings.internal_tls.server() if settings.internal_tls is not None else None
    async with (
        open_dependencies(settings) as dependencies,
        listening(app_runner(create_app(dependencies)), settings.host, settings.port, tls=tls),
    ):
        log.info("history_started", port=settings.port)
        await supervise(wait_for_stop(), *dependencies.loops)
        log.info("history_stopping")
    log.info("history_stopped")


def main() -> None:
    settings = HistorySettings.load_or_exit()
    configure("history", settings.log_level)
    with tracing("history", settings):
        run(lambda: serve(settings), uvloop=settings.uvloop)


if __name__ == "__main__":
    main()
