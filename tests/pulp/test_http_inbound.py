"""Inbound HTTP over real sockets (spec/pulp.md 3.4, acceptance case 2)."""

from __future__ import annotations

import gc
from pathlib import Path

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


def test_a_port_is_free_again_after_the_runtime_stopped_and_no_descriptor_is_left(application) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    table = {"wasm": "echo.c", "capabilities": ["transport.http.inbound"]}
    app = application(table)
    port = app.url.rpartition(":")[2]
    httpx.get(f"{app.url}/echo/a")
    app.runtime.stop()
    gc.collect()
    before = descriptors()
    for _ in range(5):
        app = application(table, settings={"HTTP_PORT": port})
        assert httpx.get(f"http://127.0.0.1:{port}/echo/a").text == "a"
        app.runtime.stop()
    gc.collect()
    assert descriptors() <= before + 1
