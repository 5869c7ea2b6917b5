"""Cells that know the contract alone, under the manifests that their authors would write, by ``guesthouse up``."""

from __future__ import annotations

import itertools
import shutil
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from tests.pulp.servers import Server
from tests.pulp.test_up import up  # noqa: F401 - a fixture
from websockets.sync.client import connect

from guesthouse import pulp

MIRROR = """
schema_version = 1
name = "mirror"
version = "0.3.0"
wasm = "gomirror.wasm"
capabilities = ["transport.http.inbound", "transport.http.outbound", "storage.sqlite", "storage.fs"]
restart = "on_crash"
dedicated_thread = true
max_memory_pages = 1024
call_timeout_ms = 15000
"""
CHAT = """
name = "chat"
version = "1.0.0"
wasm = "chat.wasm"
capabilities = ["transport.http.inbound", "transport.ws.inbound", "transport.sse"]
"""
QUOTES = """
name = "quotes"
version = "1.0.0"
wasm = "goquotes.wasm"
provides = ["quotes.list", "quotes.best"]
"""
DESK = """
name = "desk"
version = "1.0.0"
wasm = "../quotes/goquotes.wasm"
depends_on = ["quotes"]
consumes = ["quotes.best"]
"""


@pytest.fixture
def written(tmp_path, build):
    """Writes a cell's folder: module and manifest."""

    def write(name: str, manifest: str, guest: str = "") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        if guest:
            built = build(guest)
            shutil.copy(built, folder / built.name)
        path = folder / "pulp.cell.toml"
        path.write_text(manifest)
        return path

    return write


def served(process) -> str:
    process.wait_for("serving at")
    return "http://127.0.0.1:" + process.wait_for(r'msg="http server started" addr=127\.0\.0\.1:(\d+)')


def test_a_mirror_fetches_keeps_lists_shows_and_streams(up, written, tmp_path) -> None:  # noqa: F811
    path = written("mirror", MIRROR, "gomirror")
    with Server() as origin:
        allowed = {"HTTP_FETCH_ALLOW": f"127.0.0.1:{origin.port}"}
        process = up(path, **allowed)
        with httpx.Client(base_url=served(process), timeout=30) as client:
            pages = [f"{origin.url}/large?{size}" for size in (10, 100_000, 3_000_000)]
            assert [client.post("/pages", content=url).text for url in pages] == ["1", "2", "3"]
            again = client.post("/pages", content=pages[0])
            assert (again.status_code, again.text) == (409, "kept already: 13")
            refused = client.post("/pages", content="http://169.254.169.254/latest/meta-data")
            assert (refused.status_code, refused.text) == (502, "fetch: 4")
            assert client.get("/pages/3").content == bytes(3_000_000)
            assert client.get("/pages/..%2F..%2Fetc%2Fpasswd").status_code == 404
            assert client.get("/pages/9").text == "file: 6"
            assert client.get("/pages").text.splitlines() == [
                f"3 {pages[2]} 3000000", f"2 {pages[1]} 100000", f"1 {pages[0]} 10",
            ]  # fmt: skip
            with client.stream("GET", "/through", params={"url": f"{origin.url}/drip?20,0.02"}) as answer:
                assert (answer.status_code, answer.headers["x-mirror"]) == (200, "through")
                pieces = list(answer.iter_raw())
            assert b"".join(pieces) == b"".join(b"piece %d;" % number for number in range(20))
            assert len(pieces) > 3
            assert client.get("/through", params={"url": f"{origin.url}/nowhere"}).status_code == 404
        assert process.interrupt()[0] == 0
        kept = tmp_path / "data" / "mirror"
        assert sorted(each.name for each in (kept / "pages").iterdir()) == ["1", "2", "3"]
        assert (kept / "data.db").exists()
        process = up(path, **allowed)  # what was kept is there after a restart
        with httpx.Client(base_url=served(process), timeout=30) as client:
            assert len(client.get("/pages").text.splitlines()) == 3
            assert client.get("/pages/2").content == bytes(100_000)


def test_a_mirror_that_has_no_room_left_says_so_and_keeps_its_books_straight(up, written) -> None:  # noqa: F811
    path = written("mirror", MIRROR + "max_disk_bytes = 400_000\n", "gomirror")
    with Server() as origin:
        process = up(path, HTTP_FETCH_ALLOW="127.0.0.1")
        with httpx.Client(base_url=served(process), timeout=30) as client:
            assert client.post("/pages", content=f"{origin.url}/large?1000").status_code == 201
            full = client.post("/pages", content=f"{origin.url}/large?1000000")
            assert (full.status_code, full.text) == (507, "file: 4")
            assert len(client.get("/pages").text.splitlines()) == 1
            assert client.post("/pages", content=f"{origin.url}/large?2000").status_code == 201
    assert "raise max_disk_bytes in the cell's manifest" in process.log.read_text()


def test_a_mirror_under_load_answers_everybody(up, written) -> None:  # noqa: F811
    path = written("mirror", MIRROR, "gomirror")
    with Server() as origin:
        process = up(path, HTTP_FETCH_ALLOW="127.0.0.1")
        with httpx.Client(base_url=served(process), timeout=60) as client, ThreadPoolExecutor(16) as many:
            sizes = range(1000, 1100)
            posted = many.map(lambda n: client.post("/pages", content=f"{origin.url}/large?{n}"), sizes)
            numbers = {answer.text: size for answer, size in zip(posted, sizes, strict=True)}
            assert len(numbers) == 100
            shown = many.map(lambda number: client.get(f"/pages/{number}"), numbers)
            assert [len(answer.content) for answer in shown] == list(numbers.values())
    assert "cell restarted" not in process.log.read_text()


def test_a_chat_over_websockets_with_an_event_stream_beside_it(up, written) -> None:  # noqa: F811
    process = up(written("chat", CHAT, "chat.c"))
    url = served(process)
    rooms = url.replace("http", "ws") + "/rooms"
    with (
        connect(f"{rooms}/red") as ann, connect(f"{rooms}/red") as bob, connect(f"{rooms}/blue") as eve,
        httpx.stream("GET", f"{url}/follow/red", timeout=30) as follow,
    ):  # fmt: skip
        lines = follow.iter_lines()
        assert next(lines) == ":ok"
        assert httpx.get(f"{url}/count").text == "3"
        ann.send("hello, wörld")
        assert bob.recv(10) == "hello, wörld"
        bob.send("hi")
        assert ann.recv(10) == "hi"
        said = list(itertools.islice(lines, 9))
        assert said[1:4] == ["id: 1", "event: said", "data: hello, wörld"]
        assert said[5:8] == ["id: 2", "event: said", "data: hi"]
        eve.send("alone")
        with pytest.raises(TimeoutError):
            ann.recv(0.3)
    until = 200
    while httpx.get(f"{url}/count").text != "0":
        until -= 1
        assert until
    assert process.interrupt()[0] == 0


def test_a_crowded_chat_loses_no_message(up, written) -> None:  # noqa: F811
    process = up(written("chat", CHAT, "chat.c"))
    room = served(process).replace("http", "ws") + "/rooms/crowd"
    heard: list[list[str]] = [[] for _ in range(20)]

    def talk(client, number: int) -> None:
        for turn in range(10):
            client.send(f"{number}-{turn}")

    def listen(client, number: int) -> None:
        while len(heard[number]) < 190:
            heard[number].append(str(client.recv(30)))

    with ExitStack() as stack:
        clients = [stack.enter_context(connect(room)) for _ in heard]
        threads = [
            threading.Thread(target=work, args=(client, number))
            for work in (listen, talk)
            for number, client in enumerate(clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    everything = {f"{number}-{turn}" for number in range(20) for turn in range(10)}
    for number, messages in enumerate(heard):
        assert set(messages) == {each for each in everything if not each.startswith(f"{number}-")}


def lift(tree) -> dict[str, int]:
    count, records = struct.unpack("<II", tree.read())
    found = [struct.unpack("<IIQ", tree.read(records + 16 * number, 16)) for number in range(count)]
    return {tree.read(name, size).decode(): cents for name, size, cents in found}


@pytest.mark.parametrize("strict", [False, True])
def test_a_desk_asks_for_quotes_and_whoever_can_reads_them_in_place(written, tmp_path, strict) -> None:
    paths = [written("quotes", QUOTES, "goquotes"), written("desk", DESK)]
    manifests = pulp.load_batch(paths, strict_links=strict)
    options = {"storage_root": tmp_path / "data", "strict_links": strict}
    with pulp.Runtime(manifests, pulp.registry(), pulp.standalone(), **options) as runtime:
        quotes, desk = runtime.cell("quotes"), runtime.cell("desk")
        for _ in range(50):
            assert desk.call("desk.report") == b"best: pear"
            assert quotes.call_typed("quotes.list", b"", lift) == {"apple": 120, "pear": 95, "quince": 310}
        assert quotes.probe_alloc_live() <= 1  # the block of the idle ticks
        assert quotes.call("quotes.best") == struct.pack("<Q", 95) + b"pear"
        with pytest.raises(pulp.CellFailed, match="pulp_on_call returned 24"):
            runtime.shut_down("quotes")
            desk.call("desk.report")


def test_quotes_and_desk_start_by_up(up, written) -> None:  # noqa: F811
    process = up(written("quotes", QUOTES, "goquotes"), written("desk", DESK))
    process.wait_for('msg="cell ready" cell=desk')
    process.wait_for("serving at")
    assert process.interrupt()[0] == 0
