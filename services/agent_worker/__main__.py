"""`python -m services.agent_worker`: one worker process."""

from services.agent_worker.app import serve
from services.agent_worker.settings import WorkerSettings
from shared.log import configure
from shared.web.process import run


def main() -> None:
    settings = WorkerSettings.load_or_exit()
    configure("agent_worker", settings.log_level)
    run(lambda: serve(settings), uvloop=settings.uvloop)


if __name__ == "__main__":
    main()
