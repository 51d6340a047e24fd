"""`python -m services.agent_worker [--queue turns|ingest]`: one worker process, of turns or of knowledge sources."""

import argparse

from services.agent_worker.app import serve
from services.agent_worker.settings import WorkerSettings
from shared.log import configure
from shared.tracing.start import tracing
from shared.web.process import run


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m services.agent_worker")
    parser.add_argument("--queue", choices=["turns", "ingest"], default="turns", help="what this worker does")
    queue = parser.parse_args().queue
    settings = WorkerSettings.load_or_exit()
    configure("agent_worker", settings.log_level)
    if queue == "ingest":
        # Imported here: workers of turns neither need nor load what reads documents.
        from services.agent_worker.ingest.app import serve_ingest

        with tracing("ingest", settings):
            run(lambda: serve_ingest(settings), uvloop=settings.uvloop)
    else:
        with tracing("agent-worker", settings):
            run(lambda: serve(settings), uvloop=settings.uvloop)


if __name__ == "__main__":
    main()
