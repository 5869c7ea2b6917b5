"""storage.s3 (spec/pulp.md 3.11), against a real HTTP server that speaks the S3 protocol."""

from __future__ import annotations

import socket
import threading
import urllib.request

import boto3
import pytest
from moto.server import ThreadedMotoServer

from guesthouse.errors import CallError

BUCKET = "cells"


@pytest.fixture(scope="module")
def endpoint():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="k", aws_secret_access_key="s"
    )
    client.create_bucket(Bucket=BUCKET)
    yield url
    client.close()
    server.stop()


@pytest.fixture
def settings(endpoint):
    return {
        "S3_ENDPOINT": endpoint, "S3_BUCKET": BUCKET, "S3_ACCESS_KEY_ID": "k", "S3_SECRET_ACCESS_KEY": "s",
    }  # fmt: skip


@pytest.fixture
def cell(window, settings):
    return window("storage.s3", settings=settings)


def test_objects_come_back_as_they_were_put(cell) -> None:
    body = bytes(range(256)) * 40
    assert cell.s3_put({"key": "a/b.bin", "body": body}) == (0, None)
    code, found = cell.s3_get({"key": "a/b.bin"})
    assert (code, found["body"], found["content_length"]) == (0, body, len(body))
    assert cell.s3_put_sized(
        {"key": "t", "body": b"hi", "content_length": 2, "content_type": "text/plain"}
    ) == (0, None)
    assert cell.s3_get({"key": "t"})[1]["content_type"] == "text/plain"
    assert cell.s3_put_sized({"key": "t", "body": b"hi", "content_length": 3}) == (3, None)
    assert cell.s3_copy({"src_key": "t", "dst_key": "u"}) == (0, None)
    assert cell.s3_head({"key": "u"})[1]["size"] == 2
    assert cell.s3_delete({"key": "u"}) == (0, None)
    assert cell.s3_head({"key": "u"}) == (6, None)
    assert cell.s3_get({"key": "u"}) == (6, None)
    assert cell.s3_copy({"src_key": "nowhere", "dst_key": "u"}) == (6, None)


def test_listing_page_by_page(cell) -> None:
    for number in range(5):
        assert cell.s3_put({"key": f"page/{number}", "body": b"x" * number}) == (0, None)
    seen, token = [], ""
    while True:
        code, page = cell.s3_list({"prefix": "page/", "max_keys": 2, "continuation_token": token})
        assert code == 0
        seen += [(entry["key"], entry["size"]) for entry in page["entries"]]
        token = page["next_continuation_token"]
        if not page["is_truncated"]:
            break
    assert seen == [(f"page/{number}", number) for number in range(5)]


def test_upload_in_parts(cell) -> None:
    upload = cell.s3_put_multipart_init({"key": "big", "content_type": "x/y"})[1]["upload_id"]
    stored = []
    for number, data in enumerate((bytes(5 << 20), b"tail"), 1):  # all but the last have 5 MiB at least
        part = {"key": "big", "upload_id": upload, "part_number": number, "data": data}
        stored.append({"part_number": number, "etag": cell.s3_put_multipart_part(part)[1]["etag"]})
    assert cell.s3_put_multipart_complete({"key": "big", "upload_id": upload, "parts": stored}) == (0, None)
    assert cell.s3_head({"key": "big"})[1]["size"] == (5 << 20) + 4
    upload = cell.s3_put_multipart_init({"key": "gone"})[1]["upload_id"]
    assert cell.s3_put_multipart_abort({"key": "gone", "upload_id": upload}) == (0, None)
    assert cell.s3_put_multipart_abort({"key": "gone", "upload_id": upload}) == (6, None)
    assert cell.s3_put_multipart_complete({"key": "big", "upload_id": upload, "parts": "x"}) == (3, None)


def test_presigned_links_work_without_the_cell(cell) -> None:
    url = cell.s3_presign_put({"key": "direct", "ttl_sec": 60})[1]["url"]
    headers = {"Content-Type": "application/octet-stream"}
    urllib.request.urlopen(urllib.request.Request(url, b"direct body", headers, method="PUT")).close()
    with urllib.request.urlopen(cell.s3_presign({"key": "direct", "ttl_sec": 60})[1]["url"]) as answer:
        assert answer.read() == b"direct body"
    assert cell.s3_presign({"key": "direct", "ttl_sec": 0}) == (3, None)


def test_bad_requests(cell) -> None:
    assert cell.s3_get(b"") == (1, None)
    assert cell.s3_get(b"\xc1") == (3, None)
    assert cell.s3_get({"key": ""}) == (3, None)


def test_without_settings_it_is_not_configured(window) -> None:
    cell = window("storage.s3")
    assert cell.s3_get({"key": "a"}) == (10, None)


def test_a_cell_that_waits_for_the_store_can_be_interrupted(window, settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = {**settings, "S3_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        cell = window("storage.s3", settings=address, restart="never")
        ended: list[str] = []

        def ask() -> None:
            try:
                cell.s3_get({"key": "a"})
            except CallError as error:
                ended.append(str(error))

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asked, _ = silent.accept()
        cell.cell.interrupt("enough")
        asking.join(10)
        asked.close()
    assert "enough" in ended[0]


def test_a_store_that_is_gone_is_code_4(window, settings) -> None:
    settings = {**settings, "S3_ENDPOINT": "http://127.0.0.1:9"}
    cell = window("storage.s3", settings=settings)
    assert cell.s3_get({"key": "a"}) == (4, None)
