"""A small S3 on loopback for the tests: objects and uploads in memory, requests refused unless SigV4 agrees."""

import hashlib
import hmac
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote
from xml.sax.saxutils import escape, unescape

from aiohttp import web

BUCKET = "blobs"
KEY_ID = "AKIATEST"
SECRET = "a secret of tests"
REGION = "test-1"


@dataclass
class S3Server:
    """`status`: answered to everything if it is not 200. `requests`: those that were let in."""

    endpoint: str = ""
    status: int = 200
    page: int = 1000
    objects: dict[str, tuple[bytes, datetime]] = field(default_factory=dict)
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    refused: int = 0

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        if self.status != 200:
            return _error(self.status, "InternalError")
        if not _is_signed(request, body):
            self.refused += 1
            return _error(403, "SignatureDoesNotMatch")
        self.requests.append(f"{request.method} {request.path_qs}")
        query = dict(parse_qsl(request.query_string, keep_blank_values=True))
        key = request.match_info.get("key", "")
        if "list-type" in query:
            return self._list(query)
        if "delete" in query:
            return self._delete(body)
        if "uploads" in query or "uploadId" in query:
            return self._multipart(request.method, key, query, body)
        return self._object(request.method, key, body)

    def _object(self, method: str, key: str, body: bytes) -> web.Response:
        if method == "PUT":
            self._store(key, body)
            return web.Response(headers={"ETag": f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'})
        if method == "DELETE":
            self.objects.pop(key, None)
            return web.Response(status=204)
        if key not in self.objects:
            return _error(404, "NoSuchKey")
        content, stored = self.objects[key]
        headers = {"Last-Modified": stored.strftime("%a, %d %b %Y %H:%M:%S GMT"), "ETag": '"1"'}
        return web.Response(body=content, headers=headers)

    def _delete(self, body: bytes) -> web.Response:
        """Absent objects are deleted too, as S3 has it."""
        keys = re.findall("<Key>(.*?)</Key>", body.decode())
        for key in keys:
            self.objects.pop(unescape(key), None)
        rows = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
        return _xml(f"<DeleteResult>{rows}</DeleteResult>")

    def _multipart(self, method: str, key: str, query: dict[str, str], body: bytes) -> web.Response:
        if "uploads" in query:
            upload_id = f"upload-{len(self.requests)}"
            self.uploads[upload_id] = {}
            return _xml(
                f"<InitiateMultipartUploadResult><Bucket>{BUCKET}</Bucket><Key>{escape(key)}</Key>"
                f"<UploadId>{upload_id}</UploadId></InitiateMultipartUploadResult>"
            )
        parts = self.uploads.get(query["uploadId"])
        if parts is None:
            return _error(404, "NoSuchUpload")
        if method == "PUT":
            parts[int(query["partNumber"])] = body
            return web.Response(headers={"ETag": f'"{query["partNumber"]}"'})
        del self.uploads[query["uploadId"]]
        if method == "DELETE":
            return web.Response(status=204)
        self._store(key, b"".join(parts[number] for number in sorted(parts)))
        return _xml(
            f"<CompleteMultipartUploadResult><Location>x</Location><Bucket>{BUCKET}</Bucket>"
            f'<Key>{escape(key)}</Key><ETag>"1"</ETag></CompleteMultipartUploadResult>'
        )

    def _list(self, query: dict[str, str]) -> web.Response:
        after = query.get("continuation-token") or query.get("start-after", "")
        keys = sorted(key for key in self.objects if key.startswith(query.get("prefix", "")) and key > after)
        page = keys[: self.page]
        rows = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>{self.objects[key][1].strftime('%Y-%m-%dT%H:%M:%S.000Z')}"
            f'</LastModified><ETag>"1"</ETag><Size>{len(self.objects[key][0])}</Size></Contents>'
            for key in page
        )
        more = len(keys) > len(page)
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        return _xml(
            f"<ListBucketResult><Name>{BUCKET}</Name><IsTruncated>{str(more).lower()}</IsTruncated>"
            f"<KeyCount>{len(page)}</KeyCount>{token}{rows}</ListBucketResult>"
        )

    def _store(self, key: str, content: bytes) -> None:
        self.objects[key] = (content, datetime.now(UTC))


def _is_signed(request: web.Request, body: bytes) -> bool:
    """AWS' Signature Version 4, computed again with our secret. The body's digest must be the signed one."""
    scheme, _, rest = request.headers.get("authorization", "").partition(" ")
    fields = dict(part.strip().split("=", 1) for part in rest.split(",") if "=" in part)
    digest = request.headers.get("x-amz-content-sha256", "")
    moment = request.headers.get("x-amz-date", "")
    scope = f"{moment[:8]}/{REGION}/s3/aws4_request"
    if scheme != "AWS4-HMAC-SHA256" or fields.get("Credential") != f"{KEY_ID}/{scope}":
        return False
    if digest != hashlib.sha256(body).hexdigest():
        return False
    path, _, query_string = request.raw_path.partition("?")
    query = sorted(parse_qsl(query_string, keep_blank_values=True))
    names = fields["SignedHeaders"].split(";")
    canonical = "\n".join(
        (
            request.method,
            path,
            "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in query),
            *(f"{name}:{' '.join(request.headers.get(name, '').split())}" for name in names),
            "",
            fields["SignedHeaders"],
            digest,
        )
    )
    text = "\n".join(("AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    key = f"AWS4{SECRET}".encode()
    for part in (*scope.split("/"), text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.compare_digest(key.hex(), fields.get("Signature", ""))


def _xml(text: str) -> web.Response:
    return web.Response(text=f'<?xml version="1.0" encoding="UTF-8"?>{text}', content_type="application/xml")


def _error(status: int, code: str) -> web.Response:
    return web.Response(
        status=status, text=f"<Error><Code>{code}</Code><Message>x</Message></Error>", content_type="application/xml"
    )


@asynccontextmanager
async def s3_server() -> AsyncIterator[S3Server]:
    server = S3Server()
    app = web.Application(client_max_size=64 << 20)
    for path in (f"/{BUCKET}", f"/{BUCKET}/", f"/{BUCKET}/{{key:.+}}"):
        app.router.add_route("*", path, server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    server.endpoint = f"http://{host}:{port}"
    try:
        yield server
    finally:
        await runner.cleanup()
