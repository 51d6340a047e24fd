"""The image: its Dockerfile passes hadolint, its base can be pinned, its health check tells ready from not."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Final

import pytest

from deploy.healthcheck import addresses
from deploy.local.processes import free_port
from tests.unit.deploy.manifests.checkers import LIMIT_S, ROOT, run

DOCKERFILE: Final = ROOT / "deploy" / "Dockerfile"


def test_hadolint_has_no_complaint() -> None:
    done = run("hadolint", str(DOCKERFILE))
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_would_complain() -> None:
    done = run("hadolint", "-", stdin=DOCKERFILE.read_text().replace("WORKDIR /opt/parley", "WORKDIR parley"))
    assert "DL3000" in done.stdout


def test_both_stages_build_on_the_image_that_an_argument_names() -> None:
    lines = DOCKERFILE.read_text().splitlines()
    assert any(line.startswith("ARG PYTHON_IMAGE=python:3.11-slim-") for line in lines)
    assert [line for line in lines if line.startswith("FROM ")] == [
        "FROM ${PYTHON_IMAGE} AS build",
        "FROM ${PYTHON_IMAGE}",
    ]


@contextmanager
def answering(status: int) -> Iterator[int]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def status_of_health_check(port: int) -> int:
    environment = {**os.environ, "PARLEY_PORT": str(port)}
    command = [sys.executable, "-m", "deploy.healthcheck"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=LIMIT_S, check=False)
    return done.returncode


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_the_health_check_passes_only_when_the_process_is_ready(status: int, code: int) -> None:
    with answering(status) as port:
        assert status_of_health_check(port) == code


def test_the_health_check_fails_when_nothing_listens() -> None:
    assert status_of_health_check(free_port()) == 1


def test_the_health_check_tries_tls_where_history_may_speak_it() -> None:
    assert addresses({}) == ["http://127.0.0.1:8080/readyz"]
    assert addresses({"PARLEY_PORT": "8082", "PARLEY_INTERNAL_TLS_CERT": "tls.crt"}) == [
        "http://127.0.0.1:8082/readyz",
        "https://127.0.0.1:8082/readyz",
    ]
