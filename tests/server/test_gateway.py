"""The gateway over real HTTP: calls and their endings, long polls, uploads, and who is let in."""

from __future__ import annotations

import json
import time

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from guesthouse.server import Access, Gateway
from guesthouse.server.access import is_loopback, split_address
from guesthouse.server.shelf import Shelf, ShelfFull

TOKEN = "correct-horse"


@pytest.fixture
def gateway(host):
    with Gateway(host, "127.0.0.1:0", uploads=["plain.io"], upload_limit="4KiB") as gateway:
        yield gateway


@pytest.fixture
def client(gateway):
    with httpx.Client(base_url=gateway.url, timeout=20) as client:
        yield client


def test_a_call_returns_output_id_and_receipt(client):
    answer = client.post("/v1/guests/plain/call", content=b"hello")
    assert (answer.status_code, answer.content) == (200, b"hello")
    assert answer.headers["guesthouse-code"] == "0"
    assert int(answer.headers["guesthouse-call"]) > 0
    receipt = json.loads(answer.headers["guesthouse-receipt"])
    assert (receipt["bytes_in"], receipt["bytes_out"]) == (5, 5)
    assert receipt["wall_s"] > 0


def test_a_large_body_arrives_whole(client):
    body = bytes(range(256)) * 1000
    assert client.post("/v1/guests/plain/call", content=body).content == body


@pytest.mark.parametrize(
    ("query", "status", "kind"),
    [
        ("entry=trap", 502, "Trap"),
        ("entry=spin&wall=50ms", 504, "DeadlineExceeded"),
        ("entry=boom", 502, "KeyError"),
        ("wall=soon", 400, "BadRequest"),
    ],
)
def test_failures_have_a_status_and_a_kind(client, query, status, kind):
    answer = client.post(f"/v1/guests/plain/call?{query}")
    assert (answer.status_code, answer.json()["error"]["kind"]) == (status, kind)
    assert "hunter2" not in answer.text


def test_a_guest_s_own_code_is_told_with_its_output(client):
    answer = client.post("/v1/guests/plain/call?entry=seven")
    assert (answer.status_code, answer.headers["guesthouse-code"]) == (422, "7")
    assert answer.content == b"\0\0\0"


def test_what_does_not_exist(client):
    assert client.post("/v1/guests/absent/call").json()["error"]["kind"] == "NotFound"
    assert client.get("/v1/guests/absent").status_code == 404
    assert client.get("/v1/calls/123456").status_code == 404
    assert client.delete("/v1/calls/123456").status_code == 404
    assert client.get("/v1/nothing").status_code == 404


def test_guests_are_listed_for_their_tenant_only(client):
    (guest,) = client.get("/v1/guests").json()
    assert (guest["name"], guest["interface"], guest["capabilities"]) == ("plain", "plain", ["plain.io"])
    assert client.get("/v1/guests/plain").json() == guest
    assert client.get("/v1/guests?tenant=other").json() == []
    assert client.post("/v1/guests/plain/call?tenant=other").status_code == 404


def test_too_much_input_is_refused_before_anything_runs(client):
    answer = client.post("/v1/guests/plain/call", content=b"x" * ((1 << 20) + 1))
    assert answer.status_code == 413
    chunks = (b"x" * 65536 for _ in range(17))  # no Content-Length to go by
    assert client.post("/v1/guests/plain/call", content=chunks).status_code == 413


def test_a_submitted_call_is_fetched_later(client, napping, awake):
    answer = client.post("/v1/guests/plain/submit?entry=sleep&wall=20s", content=b"x")
    assert answer.status_code == 202
    where = answer.headers["location"]
    assert napping.wait(5)
    begun = time.monotonic()
    pending = client.get(where, params={"wait": "100ms"})
    assert pending.status_code == 202 and pending.json()["state"] == "running"
    assert time.monotonic() - begun >= 0.1
    awake.set()
    ended = client.get(where, params={"wait": "10s"})
    assert (ended.status_code, ended.headers["guesthouse-code"]) == (200, "0")
    assert client.get(where).content == ended.content  # stable once stored
    assert client.get(where, params={"tenant": "other"}).status_code == 404


def test_a_submitted_call_can_be_cancelled(client, napping):
    where = client.post("/v1/guests/plain/submit?entry=sleep&wall=20s").headers["location"]
    assert napping.wait(5)
    assert client.delete(where).status_code == 204
    ended = client.get(where, params={"wait": "10s"})
    assert (ended.status_code, ended.json()["error"]["kind"]) == (409, "Cancelled")


def test_going_away_cancels_the_call(host, gateway):
    with httpx.Client(base_url=gateway.url, timeout=0.3) as impatient, pytest.raises(httpx.ReadTimeout):
        impatient.post("/v1/guests/plain/call?entry=sleep&wall=20s")
    end = time.monotonic() + 5
    while host.scheduler.live() and time.monotonic() < end:
        time.sleep(0.01)
    assert not host.scheduler.live()


# -- uploads


def test_an_uploaded_guest_can_be_called_and_removed(client, module):
    answer = client.put("/v1/guests/mine?grant=plain.io&wall=1s", content=module)
    assert answer.status_code == 201, answer.text
    assert answer.json()["limits"]["wall"] == 1.0
    assert client.post("/v1/guests/mine/call", content=b"mine").content == b"mine"
    assert client.delete("/v1/guests/mine").status_code == 204
    assert client.post("/v1/guests/mine/call").status_code == 404


@pytest.mark.parametrize(
    ("query", "body", "status", "kind"),
    [
        ("", b"not wasm", 422, "InvalidModule"),
        ("", "module", 422, "MissingImports"),
        ("grant=plain.oi", "module", 422, "UnknownCapability"),
        ("grant=plain.io", b"x" * 5000, 413, "TooLarge"),
        ("grant=plain.io&memory=lots", "module", 400, "BadRequest"),
        ("grant=plain.io&fuel=-3", "module", 400, "BadRequest"),
        ("grant=plain.io&sha256=00", "module", 422, "LoadError"),
    ],
)
def test_uploads_are_checked_before_use(client, module, query, body, status, kind):
    answer = client.put(f"/v1/guests/mine?{query}", content=module if body == "module" else body)
    assert (answer.status_code, answer.json()["error"]["kind"]) == (status, kind)
    assert client.get("/v1/guests/mine").status_code == 404


def test_uploads_never_get_more_than_the_host_allows(client, module):
    answer = client.put("/v1/guests/mine?grant=plain.io&memory=4GiB&wall=1h", content=module)
    assert answer.json()["limits"]["memory"] == 64 << 20
    assert answer.json()["limits"]["wall"] == 2.0


def test_uploads_get_only_what_the_operator_allows(host, module):
    with Gateway(host, "127.0.0.1:0", uploads=[]) as gateway:
        answer = httpx.put(f"{gateway.url}/v1/guests/mine?grant=plain.io", content=module)
        assert answer.json()["error"]["kind"] == "UnknownCapability"


def test_uploads_are_off_unless_asked_for(host, module):
    with Gateway(host, "127.0.0.1:0") as gateway:
        assert httpx.put(f"{gateway.url}/v1/guests/mine", content=module).status_code == 405


def test_uploads_cannot_replace_or_remove_what_the_operator_loaded(client, module):
    for answer in (
        client.put("/v1/guests/plain?grant=plain.io", content=module),
        client.delete("/v1/guests/plain"),
    ):
        assert (answer.status_code, answer.json()["error"]["kind"]) == (409, "NotUploaded")
    assert client.post("/v1/guests/plain/call", content=b"still").content == b"still"


def test_an_upload_replaces_an_earlier_one_and_a_bad_one_leaves_it(client, module):
    for _ in range(2):
        assert client.put("/v1/guests/mine?grant=plain.io", content=module).status_code == 201
    assert client.put("/v1/guests/mine?grant=plain.io", content=b"rubbish").status_code == 422
    assert client.post("/v1/guests/mine/call", content=b"mine").content == b"mine"
    assert client.delete("/v1/guests/mine").status_code == 204
    assert client.delete("/v1/guests/mine").status_code == 404


def test_there_are_only_so_many_uploads(host, module):
    shelf = Shelf(host, most=2)
    for name in ("one", "two", "one"):
        shelf.load(module, name, "default", grant=["plain.io"])
    with pytest.raises(ShelfFull):
        shelf.load(module, "three", "default", grant=["plain.io"])
    shelf.unload("one", "default")
    shelf.load(module, "three", "default", grant=["plain.io"])


@pytest.mark.parametrize("name", ["a%0d%0aSet-Cookie:%20x", "a%20b", "a@b", "x" * 201])
def test_uploads_need_a_proper_name(client, module, name):
    answer = client.put(f"/v1/guests/{name}?grant=plain.io", content=module)
    assert (answer.status_code, answer.json()["error"]["kind"]) == (400, "BadRequest")


# -- who is let in


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:80", "example.org:80"])
def test_other_machines_need_a_token(host, address):
    with pytest.raises(ValueError, match="would let other machines in"):
        Gateway(host, address)
    Gateway(host, address, tokens=TOKEN)


def test_a_token_is_asked_for_everywhere(host):
    with (
        Gateway(host, "127.0.0.1:0", tokens=TOKEN, uploads=[]) as gateway,
        httpx.Client(base_url=gateway.url) as client,
    ):
        for method, path in (
            ("GET", "/"),
            ("GET", "/v1/guests"),
            ("POST", "/v1/guests/plain/call"),
            ("GET", "/x"),
        ):
            for headers in (
                {},
                {"Authorization": "Bearer wrong"},
                {"Authorization": TOKEN},
                {"Authorization": "Bearer"},
            ):
                assert client.request(method, path, headers=headers).status_code == 401, (
                    method,
                    path,
                    headers,
                )
        good = {"Authorization": f"Bearer {TOKEN}"}
        assert client.post("/v1/guests/plain/call", content=b"x", headers=good).content == b"x"
        assert client.get("/healthz").json() == {"status": "ok"}


def test_guests_do_not_see_the_token_that_let_a_request_in(host):
    async def seen(request):
        return PlainTextResponse(str(request.headers.get("authorization")))

    route = Route("/mounted", seen)
    given = {"Authorization": f"Bearer {TOKEN}"}
    with Gateway(host, "127.0.0.1:0", tokens=TOKEN, mounts=[route]) as gateway:
        assert httpx.get(f"{gateway.url}/mounted").status_code == 401
        assert httpx.get(f"{gateway.url}/mounted", headers=given).text == "None"
    with Gateway(host, "127.0.0.1:0", mounts=[route]) as gateway:
        assert httpx.get(f"{gateway.url}/mounted", headers=given).text == given["Authorization"]


def test_a_tenant_s_token_reaches_that_tenant_only(host, module):
    host.load(module, name="theirs", grant=["plain.io"], tenant="acme")
    with Gateway(host, "127.0.0.1:0", tokens={"acme-token": "acme"}) as gateway:
        with httpx.Client(base_url=gateway.url, headers={"Authorization": "Bearer acme-token"}) as client:
            assert [guest["name"] for guest in client.get("/v1/guests").json()] == ["theirs"]
            assert client.post("/v1/guests/theirs/call", content=b"y").content == b"y"
            for path in ("/v1/guests", "/v1/guests/plain"):
                assert client.get(f"{path}?tenant=default").status_code == 404
            page = client.get("/")
            assert "theirs" in page.text and "plain.io" in page.text
            assert client.get("/?tenant=default").status_code == 404


def test_short_tokens_are_refused(host):
    with pytest.raises(ValueError, match="at least 8"):
        Gateway(host, "127.0.0.1:0", tokens="short")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "attacker.example"}, 403),  # a name that was pointed at 127.0.0.1
        ({"Origin": "https://attacker.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "localhost"}, 200),
    ],
)
def test_web_pages_cannot_reach_a_host_on_loopback(client, headers, status):
    assert client.get("/v1/guests", headers=headers).status_code == status


def test_the_page_shows_guests_and_loads_nothing(client):
    page = client.get("/")
    assert page.status_code == 200 and "plain" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_a_port_in_use_is_said(host, gateway):
    with pytest.raises(OSError, match="cannot listen on"):
        Gateway(host, f"127.0.0.1:{gateway.port}").start()


@pytest.mark.parametrize(
    "name", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost", "LOCALHOST.", "a.localhost"]
)
def test_loopback_names(name):
    assert is_loopback(name)


@pytest.mark.parametrize("name", ["0.0.0.0", "::", "10.0.0.1", "localhost.example", "127.0.0.1.nip.io", ""])
def test_other_names(name):
    assert not is_loopback(name)


def test_addresses():
    assert split_address("127.0.0.1:80") == ("127.0.0.1", 80)
    assert split_address("[::1]:80") == ("::1", 80)
    assert split_address(":80") == ("127.0.0.1", 80)
    for wrong in ("127.0.0.1", "x:port", "a@b:80", "a:80/path", "a:99999", ""):
        with pytest.raises(ValueError, match="is no address"):
            split_address(wrong)


@pytest.mark.parametrize("listen", ["[::1]:0", "localhost:0", ":0"])
def test_other_spellings_of_loopback_serve(host, listen):
    with Gateway(host, listen) as gateway:
        assert httpx.get(f"{gateway.url}/healthz").status_code == 200
        assert httpx.get(f"{gateway.url}/v1/guests").status_code == 200


def test_tokens_do_not_show_in_the_repr():
    assert "hunter2hunter2" not in repr(Access({"hunter2hunter2": None}))
