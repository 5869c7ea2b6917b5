"""Inbound HTTP over real sockets (spec/pulp.md 3.4, acceptance case 2)."""

from __future__ import annotations

import httpx


def test_case_02_echo_returns_the_capture_the_body_and_404(application) -> None:
    app = application({"wasm": "echo.c", "capabilities": ["transport.http.inbound"]})
    with httpx.Client(base_url=app.url) as client:
        got = client.get("/echo/hello%20there?x=1")
        assert (got.status_code, got.text) == (200, "hello there")
        assert got.headers["content-type"] == "text/plain"
        body = bytes(range(256)) * 300
        assert client.post("/echo", content=body).content == body
        missing = client.get("/nowhere")
        assert (missing.status_code, missing.text) == (404, "404 page not found")
        assert missing.headers["content-type"] == "text/plain"
        assert client.put("/echo").status_code == 404
