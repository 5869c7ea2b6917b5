"""Faasm's outward side over real HTTP: planner messages, the older single call, uploads."""

from __future__ import annotations

import base64
import json
import time

import httpx
import pytest

import guesthouse
from guesthouse.cli import main
from guesthouse.engine.snapshot import is_snapshot
from guesthouse.server import Gateway
from guesthouse.testing import guests


@pytest.fixture
def gateway(host):
    with Gateway(host, "127.0.0.1:0", uploads=["faasm"], upload_limit="1MiB") as gateway:
        yield gateway


@pytest.fixture
def client(gateway):
    with httpx.Client(base_url=gateway.url, timeout=30) as client:
        yield client


@pytest.fixture
def upload(client):
    def upload(name, user="demo"):
        answer = client.put(f"/f/{user}/{name}", content=guests.load(f"guests/faasm/{name}.c"))
        assert (answer.status_code, answer.text) == (200, "Function upload complete"), answer.text

    return upload


def planner(client, kind, payload, wait=None):
    query = {"wait": wait} if wait else {}
    return client.post("/", json={"http_type": kind, "payload": json.dumps(payload)}, params=query)


def batch(function, *inputs, user="demo", **fields):
    messages = [
        {"user": user, "function": function, "input_data": base64.b64encode(data).decode(), **fields}
        for data in inputs
    ]
    return {"user": user, "function": function, "messages": messages}


def test_a_batch_answers_at_once_and_tells_when_it_has_finished(client, upload):
    upload("echo")
    started = planner(client, 10, batch("echo", b"one", b"two", b"")).json()
    assert started["appId"] > 0
    assert started["expectedNumMessages"] == 3
    ended = planner(client, "EXECUTE_BATCH_STATUS", {"appId": started["appId"]}, wait="20s").json()
    assert ended["finished"] is True
    outputs = [message["output_data"] for message in ended["messageResults"]]
    assert outputs == ["one", "two", "Nothing to echo"]
    (first, *_) = ended["messageResults"]
    assert (first["returnValue"], first["user"], first["function"]) == (0, "demo", "echo")
    assert abs(first["start_ts"] - time.time() * 1000) < 60_000
    assert first["finish_ts"] >= first["start_ts"]


def test_a_batch_can_be_waited_for_in_one_request(client, upload):
    upload("argc_argv")
    asked = batch("argc_argv", b"", cmdline="alpha B_eta")
    ended = planner(client, "EXECUTE_BATCH", asked, wait="20s").json()
    assert ended["messageResults"][0]["output_data"] == "3\nfunction.wasm\nalpha\nB_eta"


def test_a_long_poll_ends_with_the_call_and_not_two_seconds_later(client, upload):
    upload("sleep")
    started = planner(client, 10, batch("sleep", b"300")).json()
    assert started["finished"] is False
    start = time.monotonic()
    unfinished = planner(client, 11, {"appId": started["appId"]}, wait="20ms").json()
    assert (unfinished["finished"], unfinished["messageResults"]) == (False, [])
    assert any(a["appId"] == started["appId"] for a in planner(client, 8, {}).json()["apps"])
    assert planner(client, 11, {"appId": started["appId"]}, wait="20s").json()["finished"] is True
    assert 0.2 < time.monotonic() - start < 1.5


def test_failures_have_the_texts_of_the_reference(client, upload):
    upload("ret_one")
    upload("exception")
    failed = planner(client, 10, batch("ret_one", b""), wait="20s").json()["messageResults"][0]
    assert (failed["returnValue"], failed["output_data"]) == (1, "Call failed (return value=1)")
    threw = planner(client, 10, batch("exception", b"1"), wait="20s").json()["messageResults"][0]
    assert threw["returnValue"] == 1
    assert threw["output_data"].startswith(f"Task {threw['id']} threw exception. What: ")
    nobody = planner(client, 10, batch("absent", b""), wait="20s").json()["messageResults"][0]
    assert nobody["returnValue"] == 1
    assert "absent" in nobody["output_data"]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "Empty request"),
        (b"{", "Bad JSON in request body"),
        (b'{"http_type": 99}', "Unrecognised message type"),
        (b'{"http_type": "NOBODY"}', "Unrecognised message type"),
        (b'{"http_type": 10, "payload": "{"}', "Bad JSON in body's payload"),
        (b'{"http_type": 10, "payload": "{}"}', "Bad BatchExecRequest"),
        (b'{"http_type": 10, "payload": "[]"}', "Bad BatchExecRequest"),
        (
            b'{"http_type": 10, "payload": "{\\"user\\":\\"u\\",\\"function\\":\\"f\\"}"}',
            "Bad BatchExecRequest",
        ),
        (b'{"user": "u"}', "Empty function"),
        (b'{"function": "f"}', "Empty user"),
    ],
)
def test_what_cannot_be_understood_is_400_with_the_texts_of_the_reference(client, body, text):
    answer = client.post("/", content=body)
    assert (answer.status_code, answer.text) == (400, text)


def test_a_batch_of_different_functions_or_with_broken_input_starts_nothing(client, upload, host):
    upload("echo")
    mixed = batch("echo", b"one")
    mixed["messages"].append({"user": "demo", "function": "other"})
    broken = batch("echo", b"one", b"two")
    broken["messages"][1]["input_data"] = "not base64!"
    before = host.scheduler.stats()["remembered"]
    for asked in (mixed, broken):
        answer = planner(client, 10, asked)
        assert answer.status_code == 400
        assert answer.text.startswith("Bad BatchExecRequest")
    assert host.scheduler.stats()["remembered"] == before


def test_unknown_applications_and_graphs_are_500_with_the_texts_of_the_reference(client):
    answer = planner(client, 11, {"appId": 123456})
    assert (answer.status_code, answer.text) == (500, "App not registered in results")
    answer = planner(client, 7, {"appId": 1, "id": 123456})
    assert (answer.status_code, answer.text) == (500, "Failed getting exec. graph!")


def test_the_execution_graph_is_told_where_it_was_asked_for(client, upload):
    upload("chain_deep")
    for recorded in (True, False):
        asked = batch("chain_deep", b"2", record_exec_graph=recorded)
        ended = planner(client, 10, asked, wait="20s").json()
        root = ended["messageResults"][0]
        graph = planner(client, 7, {"appId": ended["appId"], "id": root["id"]}).json()["root"]
        assert graph["msg"]["id"] == root["id"]
        assert ("chained" in graph) is recorded
        if recorded:
            (child,) = graph["chained"]
            (leaf,) = child["chained"]
            assert leaf["msg"]["output_data"] == "bottom"
            assert "chained" not in leaf


def test_this_host_is_listed_with_its_slots(client):
    (only,) = planner(client, "GET_AVAILABLE_HOSTS", {}).json()["hosts"]
    assert only["slots"] >= 1
    assert planner(client, 6, {}).json()["ip"] == only["ip"]


def test_an_application_has_the_id_that_the_client_gave_it(client, upload):
    upload("echo")
    first = planner(client, 10, {**batch("echo", b"one"), "appId": 777_001, "subType": 5}, wait="20s").json()
    assert first["appId"] == 777_001
    assert first["messageResults"][0]["appId"] == 777_001
    # The same id again: the application grows, as one that is scaled up.
    second = planner(client, 10, {**batch("echo", b"two"), "appId": 777_001}, wait="20s").json()
    assert [each["output_data"] for each in second["messageResults"]] == ["one", "two"]
    # What is no id, or another user's, leaves the choice to the planner.
    for wanted in (0, -5):
        assert planner(client, 10, {**batch("echo", b"x"), "appId": wanted}).json()["appId"] > 0
    upload("echo", user="other")
    other = planner(client, 10, {**batch("echo", b"x", user="other"), "appId": 777_001}).json()
    assert other["appId"] != 777_001
    assert planner(client, 10, {**batch("echo", b"x"), "appId": 1 << 31}).status_code == 400


def test_an_application_grows_up_to_a_bound(client, upload, monkeypatch):
    monkeypatch.setattr("guesthouse.server.faasm.planner.MOST_MESSAGES", 2)
    upload("echo")
    asked = {**batch("echo", b"x"), "appId": 777_002}
    assert [planner(client, 10, asked).status_code for _ in range(3)] == [200, 200, 400]


def test_a_reset_forgets_applications_and_leaves_their_calls_alone(client, upload, host):
    upload("sleep")
    for kind, text in ((4, "Flushed scheduling state!"), ("RESET", "Planner fully reset!")):
        app = planner(client, 10, {**batch("sleep", b"300"), "subType": 9}).json()["appId"]
        told = planner(client, 8, {}).json()
        assert told["apps"] == [
            {"appId": app, "subType": 9, "hostIps": [planner(client, 6, {}).json()["ip"]]}
        ]
        assert (told["numMigrations"], told["nextEvictedVmIps"], told["frozenApps"]) == (0, [], [])
        (call,) = host.scheduler.live()
        assert client.post("/", json={"http_type": 13, "payload": "compact"}).status_code == 200
        answer = planner(client, kind, {})
        assert (answer.status_code, answer.text) == (200, text)
        assert planner(client, 11, {"appId": app}).text == "App not registered in results"
        assert planner(client, 8, {}).json()["apps"] == []
        assert planner(client, 14, {}).text == "bin-pack"
        assert host.scheduler.wait(call).ok  # nobody cancelled it


def test_flushed_hosts_are_there_again_at_once(client):
    answer = planner(client, "FLUSH_AVAILABLE_HOSTS", {})
    assert (answer.status_code, answer.text) == (200, "Flushed available hosts!")
    assert len(planner(client, 5, {}).json()["hosts"]) == 1


def test_a_policy_is_one_of_three_and_can_be_asked_for(client):
    def set_policy(name):
        return client.post("/", json={"http_type": "SET_POLICY", "payload": name})

    assert planner(client, "GET_POLICY", {}).text == "bin-pack"
    for name in ("compact", "spot", "bin-pack"):
        assert (set_policy(name).status_code, set_policy(name).text) == (200, "Policy set correctly")
        assert planner(client, 14, {}).text == name
    refused = set_policy("round-robin")
    assert (refused.status_code, refused.text) == (400, "Unrecognised policy name: round-robin")
    assert planner(client, 14, {}).text == "bin-pack"


def test_a_host_that_will_be_evicted_takes_no_batches(client, upload):
    upload("echo")
    here = planner(client, 6, {}).json()["ip"]
    refused = planner(client, 15, {"vmIps": [here]})
    assert (refused.status_code, refused.text) == (
        400, "Next evicted VM must only be set in 'spot' policy",
    )  # fmt: skip
    client.post("/", json={"http_type": 13, "payload": "spot"})
    assert client.post("/", json={"http_type": 15, "payload": "{"}).text == "Bad JSON in body's payload"
    for hosts, status in ((["elsewhere"], 200), ([here], 500), ([], 200)):
        answer = planner(client, "SET_NEXT_EVICTED_VM", {"vmIps": hosts})
        assert (answer.status_code, answer.text) == (200, "Next evicted VM set")
        assert planner(client, 8, {}).json()["nextEvictedVmIps"] == hosts
        answer = planner(client, 10, batch("echo", b"x"))
        assert answer.status_code == status
        assert status == 200 or answer.text == "No available hosts"


def test_a_decision_made_beforehand_can_only_be_this_host(client, upload):
    upload("echo")
    here = planner(client, 6, {}).json()["ip"]
    asked = {**batch("echo", b"one", b"two", executedHost=here), "appId": 777_003}
    answer = planner(client, "PRELOAD_SCHEDULING_DECISION", asked)
    assert (answer.status_code, answer.text) == (200, "Decision pre-loaded to planner")
    ended = planner(client, 10, {**batch("echo", b"one", b"two"), "appId": 777_003}, wait="20s").json()
    assert [each["executedHost"] for each in ended["messageResults"]] == [here, here]
    asked["messages"][1]["executedHost"] = "10.0.0.9"
    answer = planner(client, 12, asked)
    assert answer.status_code == 400
    assert (
        answer.text
        == f"message 1 is to run on '10.0.0.9', which is not registered; the only host is {here!r}"
    )


@pytest.mark.parametrize("kind", [7, 11, 12])
def test_a_payload_that_is_no_json_is_told_as_the_reference_tells_it(client, kind):
    answer = client.post("/", json={"http_type": kind, "payload": "{"})
    assert (answer.status_code, answer.text) == (400, "Bad JSON in request body")


def test_a_tenants_token_resets_and_drains_its_own_only(host):
    tokens = {"token-of-demo": "demo", "token-of-other": "other", "token-of-all": None}
    with Gateway(host, "127.0.0.1:0", uploads=["faasm"], tokens=tokens) as gateway:
        demo, other, operator = (
            httpx.Client(base_url=gateway.url, timeout=20, headers={"Authorization": f"Bearer {token}"})
            for token in tokens
        )
        with demo, other, operator:
            for user, who in (("demo", demo), ("other", other)):
                who.put(f"/f/{user}/echo", content=guests.load("guests/faasm/echo.c"))
            app = planner(demo, 10, batch("echo", b"x"), wait="20s").json()["appId"]
            assert planner(other, 1, {}).status_code == 200
            assert planner(demo, 11, {"appId": app}).status_code == 200
            here = planner(demo, 6, {}).json()["ip"]
            for who, refused in ((other, {other}), (operator, {demo, other})):
                who.post("/", json={"http_type": 13, "payload": "spot"})
                planner(who, 15, {"vmIps": [here]})
                answers = {
                    demo: planner(demo, 10, batch("echo", b"x")).status_code,
                    other: planner(other, 10, batch("echo", b"x", user="other")).status_code,
                }
                assert {each for each, status in answers.items() if status == 500} == refused
            assert planner(operator, 1, {}).status_code == 200
            assert planner(demo, 11, {"appId": app}).status_code == 500
            assert planner(other, 10, batch("echo", b"x", user="other")).status_code == 200


def test_the_older_body_calls_and_waits_or_tells_how_it_goes(client, upload):
    upload("echo")
    upload("ret_one")
    asked = {"user": "demo", "function": "echo", "input_data": "plain text"}
    assert client.post("/", json=asked).content == b"plain text"
    call = client.post("/", json={**asked, "async": True}).text
    for _ in range(200):
        told = client.post("/", json={"status": True, "id": int(call), "user": "demo", "function": "echo"})
        if told.text != "RUNNING":
            break
        time.sleep(0.01)
    assert told.text == "SUCCESS: plain text"
    assert client.post("/", json={"user": "demo", "function": "ret_one"}).status_code == 500


def test_state_goes_in_and_out(client):
    for value in (b"some bytes", b"", bytes(range(256)) * 100, b"another size"):
        assert client.put("/s/demo/a/key", content=value).status_code == 200
        answer = client.get("/s/demo/a/key")
        assert (answer.status_code, answer.content) == (200, value)
    assert client.get("/s/other/a/key").status_code == 404
    assert client.get("/s/demo/absent").status_code == 404


@pytest.mark.parametrize("key", ["nul%00byte", "k" * 5000])
def test_keys_that_cannot_be_are_the_senders_mistake(client, key):
    for answer in client.put(f"/s/demo/{key}", content=b"x"), client.get(f"/s/demo/{key}"):
        assert answer.status_code == 400
        assert "keys have 1 to 4096 bytes" in answer.text


def test_a_changed_function_is_used_at_once_and_a_refused_one_changes_nothing(client, upload):
    upload("hello")
    asked = batch("hello", b"input")

    def output():
        return planner(client, 10, asked, wait="20s").json()["messageResults"][0]["output_data"]

    assert output() == "Hello Faasm!"
    assert client.put("/f/demo/hello", content=b"\0asm rubbish").status_code == 422
    assert output() == "Hello Faasm!"
    assert client.put("/f/demo/hello", content=guests.load("guests/faasm/echo.c")).status_code == 200
    assert output() == "input"
    assert client.put("/f/demo/hello", content=guests.load("guests/faasm/dummy.c")).status_code == 200
    assert output() == ""


def test_uploads_are_bounded_and_unknown_paths_are_404(client):
    assert client.put("/f/demo/big", content=b"x" * ((1 << 20) + 1)).status_code == 413
    assert client.put("/s/demo/big", content=b"x" * ((1 << 20) + 1)).status_code == 413
    assert client.put("/x/demo/big", content=b"").status_code == 404
    assert client.get("/ping").text == "PONG"


def test_uploads_are_off_unless_allowed(host):
    with Gateway(host, "127.0.0.1:0") as gateway, httpx.Client(base_url=gateway.url, timeout=20) as client:
        assert client.put("/f/demo/hello", content=guests.load("guests/faasm/hello.c")).status_code == 404
        assert client.put("/s/demo/key", content=b"x").status_code == 404
        assert client.get("/s/demo/key").status_code == 404


def test_a_token_acts_for_its_own_tenant_only(host):
    tokens = {"token-of-demo": "demo", "token-of-other": "other"}
    with Gateway(host, "127.0.0.1:0", uploads=["faasm"], tokens=tokens) as gateway:
        url = gateway.url
        demo = httpx.Client(base_url=url, timeout=20, headers={"Authorization": "Bearer token-of-demo"})
        other = httpx.Client(base_url=url, timeout=20, headers={"Authorization": "Bearer token-of-other"})
        with demo, other:
            assert httpx.put(f"{url}/s/demo/key", content=b"x").status_code == 401
            wasm = guests.load("guests/faasm/echo.c")
            assert demo.put("/f/demo/echo", content=wasm).status_code == 200
            assert other.put("/f/demo/echo", content=wasm).status_code == 404
            assert demo.put("/s/demo/key", content=b"x").status_code == 200
            assert other.get("/s/demo/key").status_code == 404
            assert other.put("/s/demo/key", content=b"y").status_code == 404
            app = planner(demo, 10, batch("echo", b"secret"), wait="20s").json()
            assert planner(other, 10, batch("echo", b"x")).status_code == 404
            assert planner(other, 11, {"appId": app["appId"]}).status_code == 404
            call = app["messageResults"][0]["id"]
            assert planner(other, 7, {"appId": app["appId"], "id": call}).status_code == 500
            told = other.post("/", json={"status": True, "id": call})
            assert told.status_code == 404
            assert "secret" not in told.text


def test_the_command_line_uploads_and_calls(gateway, client, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("GUESTHOUSE_URL", gateway.url)
    source = str(guests.build("guests/faasm/echo.c"))
    assert main(["upload", source, "echo", "--tenant", "demo"]) == 0
    (tmp_path / "value.bin").write_bytes(b"\0value")
    assert main(["upload", str(tmp_path / "value.bin"), "--kind", "state", "--tenant", "demo"]) == 0
    assert client.get("/s/demo/value.bin").content == b"\0value"
    assert main(["upload", str(tmp_path / "value.bin"), "bad"]) == 125
    assert "not a valid WebAssembly module" in capfd.readouterr().err
    (tmp_path / "in").write_bytes(b"said")
    assert main(["call", "echo", "--tenant", "demo", "--input", str(tmp_path / "in")]) == 0
    assert capfd.readouterr().out == "said"


def test_shared_files_go_in_and_out_and_reach_functions(client, upload):
    where = {"headers": {"FilePath": "test/shared-file.txt"}, "params": {"tenant": "demo"}}
    assert client.put("/file", content=b"from outside", **where).status_code == 200
    assert client.get("/file", **where).content == b"from outside"
    upload("shared_file")

    def shared(data):
        return planner(client, 10, batch("shared_file", data), wait="20s").json()["messageResults"][0]

    assert shared(b"read")["output_data"] == "from outside"
    assert client.put("/file", content=b"changed", **where).status_code == 200
    assert shared(b"read")["output_data"] == "changed"
    assert shared(b"write")["returnValue"] == 0
    assert client.get("/file", **where).content == b"This is some dummy content"
    assert shared(b"delete")["returnValue"] == 0
    assert client.get("/file", **where).status_code == 500


def test_shared_files_are_named_by_their_header_and_stay_where_they_belong(client):
    assert client.put("/file", content=b"x").status_code == 400
    assert client.get("/file").status_code == 400
    absent = client.get("/file", headers={"FilePath": "absent"})
    assert (absent.status_code, absent.text) == (500, "Empty response")
    for path in ("../outside", "a/../../b", "/etc/passwd", "faasm://../../x"):
        assert client.put("/file", content=b"x", headers={"FilePath": path}).status_code == 400
        assert client.get("/file", headers={"FilePath": path}).status_code == 400
    assert client.get("/file", headers={"FilePath": "etc/hosts"}).status_code == 500
    other = {"headers": {"FilePath": "mine"}, "params": {"tenant": "demo"}}
    assert client.put("/file", content=b"secret", **other).status_code == 200
    assert client.get("/file", headers={"FilePath": "mine"}).status_code == 500


def test_python_sources_are_shared_files_of_their_user(client):
    assert client.put("/p/demo/hello", content=b"print('hello')").status_code == 200
    path = {"FilePath": "pyfuncs/demo/hello/function.py"}
    assert client.get("/file", headers=path, params={"tenant": "demo"}).content == b"print('hello')"
    assert client.put(f"/p/{'u' * 300}/hello", content=b"x").status_code == 400
    assert client.put("/s/a%20b/key", content=b"x").status_code == 400


def test_the_zygote_of_an_uploaded_function_runs_once_and_for_all(client, upload, host):
    upload("snapshot_check")
    for _ in range(2):
        ended = planner(client, 10, batch("snapshot_check", b""), wait="20s").json()
        assert ended["messageResults"][0]["output_data"] == "200 1 1"
    assert is_snapshot(host.guest("snapshot_check", tenant="demo").info)
    refused = client.put("/f/demo/zygote_fails", content=guests.load("guests/faasm/zygote_fails.c"))
    assert refused.status_code >= 400
    assert "zygote returned 3" in refused.text


def test_a_flush_drops_local_copies_and_keeps_what_is_global(client, upload, host):
    assert client.put("/s/demo/key", content=b"pushed").status_code == 200
    with host.service("state").session("demo", 1) as session:
        session.write(b"unpushed", b"only here")
    answer = planner(client, "FLUSH_EXECUTORS", {})
    assert (answer.status_code, answer.text) == (200, "Flushed executors!")
    assert client.get("/s/demo/key").content == b"pushed"
    assert client.get("/s/demo/unpushed").status_code == 404
    upload("echo")
    upload("echo")  # the same module again is as good as a new one
    assert planner(client, 10, batch("echo", b"x"), wait="20s").json()["finished"] is True


def test_files_that_are_put_are_bounded_by_the_tenants_room_on_disk():
    limits = guesthouse.Limits(disk="64KiB")
    with guesthouse.Host(tenants={"default": limits, "roomy": guesthouse.Limits()}) as host:
        with Gateway(host, "127.0.0.1:0", uploads=["faasm"]) as gateway:
            with httpx.Client(base_url=gateway.url, timeout=20) as client:

                def put(name, size, tenant="default"):
                    headers, params = {"FilePath": name}, {"tenant": tenant}
                    return client.put("/file", content=bytes(size), headers=headers, params=params)

                assert put("one", 40_000).status_code == 200
                refused = put("two", 40_000)
                assert refused.status_code == 413
                assert "delete some first" in refused.text
                assert put("two", 1_000).status_code == 200
                assert put("one", 400_000, "roomy").status_code == 200
                assert client.put("/p/default/f", content=bytes(60_000)).status_code == 413
