"""A real HTTP server for cells to fetch from, on a thread of the test."""

from __future__ import annotations

import gzip
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


class Handler(BaseHTTPRequestHandler):
    """Answers a few paths that fetch tests need."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = (
        True  # head and body are two writes: the second would wait for an acknowledgement
    )

    def do_GET(self) -> None:
        path, _, argument = self.path.partition("?")
        getattr(self, f"answer_{path.strip('/') or 'root'}", self.missing)(argument)

    def do_POST(self) -> None:
        self.do_GET()

    def send(self, body: bytes, status: int = 200, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def missing(self, _: str) -> None:
        self.send(b"missing", 404)

    def answer_echo(self, _: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        seen = "\n".join(f"{name}: {value}" for name, value in self.headers.items())
        self.send(
            f"{self.command} {self.path}\n{seen}\n\n".encode() + body,
            200,
            ("Set-Cookie", "a=1"),
            ("Set-Cookie", "b=2"),
            ("x-lower", "v"),
        )

    def answer_redirect(self, target: str) -> None:
        self.send(b"", 302, ("Location", target))

    def answer_loop(self, _: str) -> None:
        self.send(b"", 302, ("Location", "/loop"))

    def answer_login(self, target: str) -> None:
        self.send(b"", 302, ("Location", target), ("Set-Cookie", "session=secret"))

    def answer_flood(self, target: str) -> None:
        """Redirect with a body that never ends; counts what the client takes of it."""
        self.send_response(302)
        self.send_header("Location", target)
        self.end_headers()
        self.close_connection = True
        piece = bytes(1 << 16)
        while True:
            self.wfile.write(piece)
            self.server.taken += len(piece)  # type: ignore[attr-defined]

    def answer_gzip(self, _: str) -> None:
        self.send(gzip.compress(b"squeezed" * 100), 200, ("Content-Encoding", "gzip"))

    def answer_large(self, argument: str) -> None:
        self.send(bytes(int(argument)))

    def answer_slow(self, argument: str) -> None:
        time.sleep(float(argument))
        self.send(b"late")

    def answer_drip(self, argument: str) -> None:
        count, pause = argument.split(",")
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(int(count)):
            piece = b"piece %d;" % number
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.flush()
            time.sleep(float(pause))
        self.wfile.write(b"0\r\n\r\n")

    def answer_cut(self, _: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"only this")
        self.wfile.flush()
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


class Server:
    """The server while entered; counts what it was asked."""

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.taken = 0  # type: ignore[attr-defined]
        self._server.handle_error = lambda *_: None  # clients that go away are expected
        self._server.block_on_close = False
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    @property
    def taken(self) -> int:
        return self._server.taken  # type: ignore[attr-defined,no-any-return]

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
