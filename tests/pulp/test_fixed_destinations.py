"""effect.http.probe.v1 and identity.minecraft-profile.resolve (spec/pulp.md 3.11): the operator says where."""

from __future__ import annotations

import hashlib

import pytest
from tests.pulp.fixed_service import https_service

PROBE = "effect.http.probe.v1"
PROFILE = "identity.minecraft-profile.resolve"
NUMBER = "069a79f4-44e9-4726-a5be-fca90e38aaf5"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def service(tmp_path, monkeypatch):
    answers = {
        "/ok": (200, {}, b"hello", 0),
        "/missing": (404, {}, b"no", 0),
        "/away": (302, {"Location": "/ok"}, b"", 0),
        "/large": (200, {}, b"x" * 2000, 0),
        "/slow": (200, {}, b"late", 2),
        "/users/profiles/minecraft/Notch": (200, JSON, f'{{"id": "{NUMBER.replace("-", "")}", "name": "Notch"}}'.encode(), 0),
        "/users/profiles/minecraft/Liar": (200, JSON, b'{"id": "not a number", "name": "Liar"}', 0),
        "/users/profiles/minecraft/Page": (200, {"Content-Type": "text/html"}, b"<html>", 0),
        "/users/profiles/minecraft/Huge": (200, JSON, b" " * 40_000, 0),
        "/users/profiles/minecraft/Fail": (500, JSON, b"{}", 0),
        "/v1/profiles/Some%20One": (200, JSON, f'{{"uuid": "{NUMBER}", "name": "Some One"}}'.encode(), 0),
    }  # fmt: skip
    with https_service(tmp_path, answers) as (origin, asked):
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        yield origin, asked


def intent(destination: str, key: str = "k", **changes: object):
    return {
        "version": "http-probe.v1", "intent_id": "i", "idempotency_key": key, "fence": "f",
        "destination": destination, **changes,
    }  # fmt: skip


@pytest.fixture
def probe(window, service):
    origin, _ = service
    named = {
        name: {"url": f"{origin}/{name}", "timeout_ms": 800} for name in ("ok", "missing", "away", "slow")
    }
    named["large"] = {"url": f"{origin}/large", "max_body_bytes": 1000}
    named["head"] = {"url": f"{origin}/ok", "method": "HEAD"}
    named["nobody"] = {"url": "https://localhost:9/"}
    return window(PROBE, config={"http_probe": {"destinations": named}}).http_probe_execute


def test_what_was_seen_is_told(probe) -> None:
    assert probe(intent("ok")) == (
        0,
        {
            **intent("ok"), "transport": "observed", "http_status": 200, "body_bytes": 5,
            "body_sha256": hashlib.sha256(b"hello").hexdigest(),
        },
    )  # fmt: skip
    assert probe(intent("missing", "m"))[1]["http_status"] == 404
    assert probe(intent("head", "h"))[1]["body_bytes"] == 0


@pytest.mark.parametrize(
    ("destination", "transport"),
    [("away", "redirect"), ("large", "body_too_large"), ("slow", "timeout"), ("nobody", "network")],
)
def test_what_kept_it_from_being_seen_is_told(probe, destination, transport) -> None:
    code, receipt = probe(intent(destination))
    assert (code, receipt["transport"], receipt["http_status"]) == (0, transport, 0)
    assert "body_sha256" not in receipt


def test_a_key_gets_one_receipt(probe, service) -> None:
    _, asked = service
    assert probe(intent("ok")) == probe(intent("ok"))
    assert asked == ["/ok"]
    assert probe(intent("missing")) == (5, None)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (b"", 1),
        (b"\xc1", 3),
        (intent("elsewhere"), 4),
        (intent("ok", version="http-probe.v2"), 3),
        (intent("ok", fence=" x"), 3),
        (intent("ok", intent_id=""), 3),
        (intent("ok", "x" * 257), 3),
        (intent("o k"), 3),
        (intent("ok", url="https://evil"), 3),
    ],
)
def test_intents_that_are_none(probe, service, request_, code) -> None:
    assert probe(request_) == (code, None)
    assert service[1] == []


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"http_probe": 1},
        {"http_probe": {"destinations": {}}},
        {"http_probe": {"destinations": {"a": {"url": "http://plain"}}}},
        {"http_probe": {"destinations": {"a": {"url": "https://user@host/"}}}},
        {"http_probe": {"destinations": {"a": {"url": "https://h", "method": "POST"}}}},
        {"http_probe": {"destinations": {"a": {"url": "https://h", "timeout_ms": 0}}}},
        {"http_probe": {"destinations": {"a": {"url": "https://h", "max_body_bytes": True}}}},
        {"http_probe": {"destinations": {"a": {"url": "https://h", "header": "x"}}}},
        {"http_probe": {"destinations": {"a b": {"url": "https://h"}}}},
    ],
)
def test_a_table_that_is_wrong_fails_the_load_and_names_the_key(window, config) -> None:
    with pytest.raises(Exception, match=r"config\.http_probe"):
        window(PROBE, config=config)


# --- profiles ----------------------------------------------------------------------------------------


@pytest.fixture
def resolve(window, service):
    config = {"minecraft_profile": {"java_origin": service[0], "bedrock_origin": service[0] + "/"}}
    cell = window(PROFILE, config=config)
    return lambda name, platform="java": cell.minecraft_profile_resolve(
        {"player_name": name, "platform": platform}
    )


def test_names_resolve(resolve) -> None:
    assert resolve("Notch") == (0, {"uuid": NUMBER, "name": "Notch", "source": "java"})
    assert resolve(" Some One ", "Bedrock") == (0, {"uuid": NUMBER, "name": "Some One", "source": "bedrock"})


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("Nobody", 7),
        ("Liar", 5),
        ("Page", 5),
        ("Huge", 5),
        ("Fail", 4),
        ("ab", 3),
        ("x" * 17, 3),
        ("a/../b", 3),
        ("Näme", 3),
        ("", 3),
    ],
)
def test_names_that_do_not(resolve, name, code) -> None:
    assert resolve(name) == (code, None)


def test_there_are_two_platforms(resolve) -> None:
    assert resolve("Notch", "pocket") == (3, None)


@pytest.mark.parametrize("origin", ["http://plain", "https://h/path", "https://u@h", "https://h?q", 7])
def test_an_origin_that_is_none_fails_the_load(window, origin) -> None:
    with pytest.raises(Exception, match=r"config\.minecraft_profile\.java_origin"):
        window(PROFILE, config={"minecraft_profile": {"java_origin": origin}})
