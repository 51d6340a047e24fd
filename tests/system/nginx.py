"""Debian's nginx in front of the gateways, with pooled connections and no buffering, as OPERATING.md asks for."""

import subprocess
import time
from pathlib import Path

from deploy.local.processes import free_port

CONFIG = """
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log info;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    upstream gateways {{
        {servers}
        keepalive 2;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://gateways;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 60s;
            proxy_next_upstream off;
        }}
    }}
}}
"""


class Nginx:
    """A running nginx. Ended by its pid."""

    def __init__(self, program: str, directory: Path, gateways: list[str]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.error_log = directory / "error.log"
        servers = " ".join(f"server {url.removeprefix('http://')} max_fails=0;" for url in gateways)
        config = directory / "nginx.conf"
        config.write_text(CONFIG.format(directory=directory, port=self.port, servers=servers))
        command = [program, "-p", str(directory), "-c", str(config), "-e", str(self.error_log)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def wait_until_ready(self, within_s: float = 10.0) -> None:
        pid_file, deadline = self.error_log.with_name("nginx.pid"), time.monotonic() + within_s
        while not (pid_file.exists() and pid_file.read_text().strip()):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError("nginx did not start:\n" + self.error_log.read_text()[-2000:])
            time.sleep(0.02)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)
