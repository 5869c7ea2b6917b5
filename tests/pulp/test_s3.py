"""storage.s3 (spec/pulp.md 3.11), against a real HTTP server that speaks the S3 protocol."""

from __future__ import annotations

import urllib.request

import boto3
import pytest
from moto.server import ThreadedMotoServer

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
def store(forwarders, settings):
    def start(**shapes: str):
        return forwarders("storage.s3", settings=settings, **shapes)

    return start


def test_objects_come_back_as_they_were_put(store) -> None:
    put, sized, get, head, copy, delete = store(
        s3_put="q", s3_put_sized="q", s3_get="qo", s3_head="qo", s3_copy="q", s3_delete="q"
    )
    body = bytes(range(256)) * 40
    assert put({"key": "a/b.bin", "body": body}) == (0, None)
    code, found = get({"key": "a/b.bin"})
    assert (code, found["body"], found["content_length"]) == (0, body, len(body))
    assert sized({"key": "t", "body": b"hi", "content_length": 2, "content_type": "text/plain"}) == (0, None)
    assert get({"key": "t"})[1]["content_type"] == "text/plain"
    assert sized({"key": "t", "body": b"hi", "content_length": 3}) == (3, None)
    assert copy({"src_key": "t", "dst_key": "u"}) == (0, None)
    assert head({"key": "u"})[1]["size"] == 2
    assert delete({"key": "u"}) == (0, None)
    assert head({"key": "u"}) == (6, None)
    assert get({"key": "u"}) == (6, None)
    assert copy({"src_key": "nowhere", "dst_key": "u"}) == (6, None)


def test_listing_page_by_page(store) -> None:
    put, listing = store(s3_put="q", s3_list="qo")
    for number in range(5):
        assert put({"key": f"page/{number}", "body": b"x" * number}) == (0, None)
    seen, token = [], ""
    while True:
        code, page = listing({"prefix": "page/", "max_keys": 2, "continuation_token": token})
        assert code == 0
        seen += [(entry["key"], entry["size"]) for entry in page["entries"]]
        token = page["next_continuation_token"]
        if not page["is_truncated"]:
            break
    assert seen == [(f"page/{number}", number) for number in range(5)]


def test_upload_in_parts(store) -> None:
    begin, part, complete, abort, get = store(
        s3_put_multipart_init="qo", s3_put_multipart_part="qo", s3_put_multipart_complete="q",
        s3_put_multipart_abort="q", s3_head="qo",
    )  # fmt: skip
    upload = begin({"key": "big", "content_type": "x/y"})[1]["upload_id"]
    # The forwarding cell has room for one part; all but the last would need 5 MiB.
    etag = part({"key": "big", "upload_id": upload, "part_number": 1, "data": b"tail"})[1]["etag"]
    stored = [{"part_number": 1, "etag": etag}]
    assert complete({"key": "big", "upload_id": upload, "parts": stored}) == (0, None)
    assert get({"key": "big"})[1]["size"] == 4
    upload = begin({"key": "gone"})[1]["upload_id"]
    assert abort({"key": "gone", "upload_id": upload}) == (0, None)
    assert abort({"key": "gone", "upload_id": upload}) == (6, None)
    assert complete({"key": "big", "upload_id": upload, "parts": "x"}) == (3, None)


def test_presigned_links_work_without_the_cell(store) -> None:
    link_put, link_get = store(s3_presign_put="qo", s3_presign="qo")
    url = link_put({"key": "direct", "ttl_sec": 60})[1]["url"]
    headers = {"Content-Type": "application/octet-stream"}
    urllib.request.urlopen(urllib.request.Request(url, b"direct body", headers, method="PUT")).close()
    with urllib.request.urlopen(link_get({"key": "direct", "ttl_sec": 60})[1]["url"]) as answer:
        assert answer.read() == b"direct body"
    assert link_get({"key": "direct", "ttl_sec": 0}) == (3, None)


def test_bad_requests(store) -> None:
    (get,) = store(s3_get="qo")
    assert get(b"") == (1, None)
    assert get(b"\xc1") == (3, None)
    assert get({"key": ""}) == (3, None)


def test_without_settings_it_is_not_configured(forwarders) -> None:
    (get,) = forwarders("storage.s3", s3_get="qo")
    assert get({"key": "a"}) == (10, None)


def test_a_store_that_is_gone_is_code_4(forwarders, settings) -> None:
    settings = {**settings, "S3_ENDPOINT": "http://127.0.0.1:9"}
    (get,) = forwarders("storage.s3", settings=settings, s3_get="qo")
    assert get({"key": "a"}) == (4, None)
