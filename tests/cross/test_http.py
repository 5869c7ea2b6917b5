"""Guests of all interfaces, called over HTTP: one way to ask, one way to be told."""

from __future__ import annotations

import json

import httpx
import pytest
from tests.cross.conftest import ENTRY

from guesthouse.server import Gateway


@pytest.fixture
def client(host):
    with Gateway(host, "127.0.0.1:0") as gateway, httpx.Client(base_url=gateway.url, timeout=20) as client:
        yield client


@pytest.mark.parametrize("callee", ENTRY)
def test_every_guest_answers_over_http(client, callee):
    def ask(text):
        return client.post(f"/v1/guests/{callee}/call", params={"entry": ENTRY[callee]}, content=text)

    answer = ask(b"hi there")
    assert (answer.status_code, answer.content) == (200, f"{callee}:hi there".encode())
    assert answer.headers["guesthouse-code"] == "0"
    failed = ask(b"fail")
    assert failed.headers["guesthouse-code"] == ("-6" if callee == "grafos" else "6")
    trapped = ask(b"trap")
    assert (trapped.status_code, trapped.json()["error"]["kind"]) == (502, "Trap")


def test_a_chain_that_begins_over_http_has_one_receipt_tree(host, client):
    answer = client.post("/v1/guests/faasm/call", content=b"call|ark|answer|call|wasi|_start|hi")
    assert answer.content == b"0|0|wasi:hi"
    tree = host.scheduler.graph(int(answer.headers["guesthouse-call"]))
    assert [node.guest for node in tree.children] == ["ark"]
    assert json.loads(answer.headers["guesthouse-receipt"])["children"] == [tree.children[0].call_id]
