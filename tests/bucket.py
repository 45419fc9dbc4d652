"""An S3 server on the loopback, and between it and who asks a proxy that does what networks do: late, refused, cut short, wrong."""

import contextlib
import http.client
import logging
import re
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

KEY, SECRET = "AKIAOFTHETESTS000000", "a-secret-that-nobody-may-print"


class Request(NamedTuple):
    method: str
    path: str
    range: str


class Bucket:
    """A bucket `pictures` behind the proxy.

    fail(how, times, match): of the requests whose "METHOD path" the pattern finds the next `times` fail: by a status (503),
    "late", "reset", "slow" (and right), "cut" (half of the body comes), "wrong" (its first byte is another). requests: all that were made.
    """

    def __init__(self):
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)

        self.name = "pictures"
        self.requests: list[Request] = []
        self._faults: list[list] = []
        self._contents: dict[str, bytes] = {}
        self._moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._moto.start()
        self._server = self._moto.get_host_and_port()
        self._proxy = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"bucket": self}))
        self._proxy.daemon_threads = True
        threading.Thread(target=self._proxy.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.clear()

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._proxy.server_port}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "AWS_CONFIG_FILE": "/dev/null",
        }

    def clear(self) -> None:
        """Empty, and without faults."""
        self._ask("POST", "/moto-api/reset")
        self._ask("PUT", f"/{self.name}")
        self.forgive()
        self.requests.clear()
        self._contents.clear()

    def put(self, key: str, content: bytes) -> None:
        assert self._ask("PUT", f"/{self.name}/{key}", content) == 200
        self._contents[key] = content

    def get(self, key: str) -> bytes:
        """What was put there."""
        return self._contents[key]

    def keys(self) -> list[str]:
        return sorted(self._contents)

    def upload(self, folder: Path, prefix: str) -> None:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                self.put(f"{prefix}/{file.relative_to(folder).as_posix()}", file.read_bytes())

    def fail(self, how: int | str, times: int = 1, match: str = "GET") -> None:
        self._faults.append([how, times, re.compile(match)])

    def forgive(self) -> None:
        """No further request fails."""
        self._faults.clear()

    def read(self, match: str = "") -> list[Request]:
        """The requests for contents."""
        return [
            r for r in self.requests if r.method == "GET" and "list-type" not in r.path and re.search(match, r.path)
        ]

    def close(self) -> None:
        self._proxy.shutdown()
        self._proxy.server_close()
        self._moto.stop()

    def _fault(self, request: Request) -> int | str | None:
        for fault in self._faults:
            if fault[1] and fault[2].search(f"{request.method} {request.path}"):
                fault[1] -= 1
                return fault[0]
        return None

    def _ask(self, method: str, path: str, body: bytes = b"") -> int:
        connection = http.client.HTTPConnection(*self._server)
        headers = {"Authorization": f"AWS4-HMAC-SHA256 Credential={KEY}/20260101/us-east-1/s3/aws4_request"}
        connection.request(method, path, body, headers)
        status = connection.getresponse().status
        connection.close()
        return status


class Quiet(SimpleHTTPRequestHandler):
    """A server of the web, of the files in a folder."""

    def log_message(self, *_) -> None:
        pass


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bucket: Bucket

    def _pass_on(self) -> None:
        request = Request(self.command, self.path, self.headers.get("Range", ""))
        self.bucket.requests.append(request)
        how = self.bucket._fault(request)
        if how == "late":
            time.sleep(2.5)
            self.close_connection = True
            return
        if how == "slow":
            time.sleep(0.2)
        if how == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            return
        if isinstance(how, int):
            code = {403: "InvalidAccessKeyId", 503: "SlowDown"}[how]
            text = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
            self._answer(how, [("Content-Type", "application/xml")], b"" if self.command == "HEAD" else text, len(text))
            return
        connection = http.client.HTTPConnection(*self.bucket._server)
        connection.request(self.command, self.path, headers=dict(self.headers))
        answer = connection.getresponse()
        body = answer.read()
        kept = [
            h for h in answer.getheaders() if h[0].lower() not in ("content-length", "connection", "date", "server")
        ]
        length = int(answer.getheader("Content-Length") or len(body))
        connection.close()
        if how == "cut":
            self.close_connection = True
            body = body[: len(body) // 2]
        if how == "wrong":
            body = bytes([body[0] ^ 255]) + body[1:]
        self._answer(answer.status, kept, body, length)

    def _answer(self, status: int, headers: list, body: bytes, length: int) -> None:
        with contextlib.suppress(ConnectionError):
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)

    do_GET = do_HEAD = _pass_on

    def log_message(self, *_) -> None:
        pass
