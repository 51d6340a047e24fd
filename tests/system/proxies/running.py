"""nginx, Caddy and HAProxy as deploy/proxies sets them up, with this machine's addresses filled in."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from deploy.local.processes import free_port
from tests.certificates import Authority, Pair
from tests.programs import required_program

EXAMPLES: Final = Path(__file__).parents[3] / "deploy" / "proxies"
NGINX_HEAD: Final = """
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
    {extra}
    {server}
}}
"""
GZIP: Final = "gzip on; gzip_types text/event-stream; gzip_min_length 0; gzip_proxied any;"


def filled(name: str, places: Mapping[str, str]) -> str:
    """An example with its placeholders replaced. One that is not there fails: the test must follow the example."""
    text = (EXAMPLES / name).read_text()
    for place, value in places.items():
        assert place in text, f"{name} has no {place!r}"
        text = text.replace(place, value)
    return text


class Proxy:
    """A running proxy before two gateways, with TLS on loopback. Ended by its pid."""

    def __init__(self, name: str, directory: Path, gateways: list[str]) -> None:
        authority = Authority(directory)
        self.authority = authority.cert
        self.port = free_port()
        self.compresses = name == "nginx_gzip_buffering"
        self.url = f"https://127.0.0.1:{self.port}"
        self._log = directory / "proxy.log"
        pair = authority.pair("proxy")
        addresses = {f"gateway-{number}:8080": url.split("//")[1] for number, url in enumerate(gateways, start=1)}
        command = getattr(self, f"_{name}")(directory, pair, addresses)
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=directory, stdout=log, stderr=subprocess.STDOUT, env={"HOME": str(directory)}
            )

    def _nginx(self, directory: Path, pair: Pair, addresses: dict[str, str], *, plain: bool = False) -> list[str]:
        program = required_program("nginx", "nginx-light")
        places = {"443 ssl": f"127.0.0.1:{self.port} ssl", "/etc/nginx/tls.crt": str(pair.cert)}
        server = filled("nginx.conf", {**addresses, **places, "/etc/nginx/tls.key": str(pair.key)})
        if plain:
            server = server.replace("proxy_buffering off;", "")
        config = directory / "nginx.conf"
        config.write_text(NGINX_HEAD.format(directory=directory, extra=GZIP if plain else "", server=server))
        return [program, "-p", str(directory), "-c", str(config), "-e", str(directory / "error.log")]

    def _nginx_deaf(self, directory: Path, pair: Pair, addresses: dict[str, str]) -> list[str]:
        """Buffers, and does not obey the gateway's X-Accel-Buffering: what the test must find."""
        command = self._nginx(directory, pair, addresses, plain=True)
        config = directory / "nginx.conf"
        config.write_text(config.read_text().replace(GZIP, "proxy_ignore_headers X-Accel-Buffering;"))
        return command

    def _nginx_gzip_buffering(self, directory: Path, pair: Pair, addresses: dict[str, str]) -> list[str]:
        return self._nginx(directory, pair, addresses, plain=True)

    def _caddy(self, directory: Path, pair: Pair, addresses: dict[str, str]) -> list[str]:
        program = required_program("caddy", "caddy")
        site = f"https://127.0.0.1:{self.port} {{\n\ttls {pair.cert} {pair.key}\n"
        places = {"parley.example {\n": site, "\tadmin off\n": "\tadmin off\n\tauto_https off\n"}
        (directory / "Caddyfile").write_text(filled("Caddyfile", {**addresses, **places}))
        (directory / "streaming.Caddyfile").write_text(filled("streaming.Caddyfile", {}))
        return [program, "run", "--adapter", "caddyfile", "--config", "Caddyfile"]

    def _haproxy(self, directory: Path, pair: Pair, addresses: dict[str, str]) -> list[str]:
        program = required_program("haproxy", "haproxy")
        pem = directory / "tls.pem"
        pem.write_bytes(pair.cert.read_bytes() + pair.key.read_bytes())
        # With a space before it, to leave the names of the servers as they are.
        servers = {f" {place}": f" {address}" for place, address in addresses.items()}
        places = {"bind :443": f"bind 127.0.0.1:{self.port}", "/etc/haproxy/tls.pem": str(pem)}
        # Each connection takes two descriptors, and a test's process may have few.
        places["maxconn 20000"] = "maxconn 200"
        (directory / "haproxy.cfg").write_text(filled("haproxy.cfg", {**servers, **places}))
        return [program, "-db", "-f", "haproxy.cfg"]

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]

    def is_running(self) -> bool:
        return self.process.poll() is None

    def stop(self) -> None:
        self.process.terminate()
        try:
            # HAProxy waits for its connections.
            self.process.wait(2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
