"""An HTTPS server on loopback that answers as told, and the certificate that makes clients believe it."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import trustme

#: Path to (status, headers, body, seconds to wait before).
Answers = dict[str, tuple[int, dict[str, str], bytes, float]]


@contextmanager
def https_service(directory: Path, answers: Answers) -> Iterator[tuple[str, list[str]]]:
    """Serve; yields the origin and the list of paths that were asked for.  Writes `ca.pem` into the directory."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            status, headers, body, pause = answers.get(self.path, (404, {}, b"", 0))
            time.sleep(pause)
            try:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                pass  # the client went away, as some are meant to

        do_HEAD = do_GET  # noqa: N815 - the name that the server looks for

        def log_message(self, *args: object) -> None:
            pass

    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"https://localhost:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
