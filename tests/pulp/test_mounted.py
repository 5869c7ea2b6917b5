"""Cells answer at the address of the host's gateway, too."""

from __future__ import annotations

import concurrent.futures
import itertools

import httpx
from tests.pulp.test_up import manifest, up  # noqa: F401 - a fixture
from websockets.sync.client import connect

import guesthouse
from guesthouse.server import Gateway
from guesthouse.testing.guests import wat

LIVE = 'capabilities = ["transport.http.inbound", "transport.ws.inbound", "transport.sse"]'


def check(url: str) -> None:
    """Talk to the cells `live` and `echo`, in every way there is."""
    with httpx.Client(base_url=url, timeout=30) as client:
        assert client.get("/echo/word").text == "word"
        body = bytes(range(256)) * 4000
        assert client.post("/echo", content=body).content == body
        with client.stream("GET", "/live/events") as response:
            lines = response.iter_lines()
            assert next(lines) == ":ok"
            assert client.post("/live", content=b"news").status_code == 204
            assert "data: news" in itertools.islice(lines, 3)
        assert client.get("/live/events/nothing").status_code == 404
        assert client.get("/healthz").status_code == 200
        assert client.get("/v1/guests").status_code == 200
    with connect(url.replace("http", "ws") + "/live/talk") as socket:
        for word in ("one", "two"):
            socket.send(word)
            assert socket.recv(30) == word


def test_up_with_an_address_serves_the_cells_there(up, tmp_path, build) -> None:  # noqa: F811
    echo = manifest(tmp_path, "echo", build("echo.c"), 'capabilities = ["transport.http.inbound"]')
    process = up(echo, manifest(tmp_path, "live", build("live.c"), LIVE), HTTP_PORT="")
    check(process.wait_for(r'msg="gateway listens" url=(\S+)'))


def test_hosted_cells_answer_at_the_gateway(tmp_path, build, monkeypatch) -> None:
    monkeypatch.setenv("HTTP_PORT", "0")
    with guesthouse.Host(pulp={"storage_root": tmp_path}) as host, Gateway(host, "127.0.0.1:0") as gateway:
        assert httpx.get(f"{gateway.url}/echo/word").status_code == 404
        for name in ("echo", "live"):
            host.load(build(f"{name}.c"), name=name, grant=["pulp"])
        check(gateway.url)
        with concurrent.futures.ThreadPoolExecutor(8) as many:
            answers = many.map(lambda n: httpx.get(f"{gateway.url}/echo/{n}").text, range(100))
            assert list(answers) == [str(number) for number in range(100)]


ROOT = """
(module
  (import "pulp" "http_register" (func $register (param i32 i32) (result i32)))
  (import "pulp" "http_respond" (func $respond (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "\\82\\a6method\\a3GET\\a4path\\a1/")
  (global $heap (mut i32) (i32.const 1024))
  (func (export "pulp_alloc") (param i32) (result i32)
    (global.get $heap) (global.set $heap (i32.add (global.get $heap) (local.get 0))))
  (func (export "pulp_free") (param i32 i32))
  (func (export "pulp_init") (param i32 i32) (result i32) (call $register (i32.const 16) (i32.const 19)))
  (func (export "pulp_step") (param i32 i32) (result i32) (i32.const 0))
  (func (export "pulp_shutdown") (result i32) (i32.const 0)))
"""


def test_a_cell_s_own_front_page_comes_before_the_gateway_s(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HTTP_PORT", "0")
    with guesthouse.Host(pulp={"storage_root": tmp_path}) as host, Gateway(host, "127.0.0.1:0") as gateway:
        assert "<h1>Guesthouse</h1>" in httpx.get(gateway.url).text
        host.load(wat(ROOT), name="root", grant=["pulp"])
        assert httpx.get(gateway.url).status_code == 500  # the cell was asked, which never answers
        host.unload("root")
        assert "<h1>Guesthouse</h1>" in httpx.get(gateway.url).text
