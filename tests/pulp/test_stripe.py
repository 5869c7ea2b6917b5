"""payment.stripe (spec/pulp.md 3.11), through the vendor's own client against a server that notes what it is asked."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

NAME = "payment.stripe"
SECRET = "whsec_test"


@pytest.fixture
def account():
    """A server that answers every question with what it was asked; yields (url, questions)."""
    asked: list[tuple[str, str, dict[str, list[str]], str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            form = parse_qs(body or parts.query)
            asked.append((self.command, parts.path, form, self.headers.get("Idempotency-Key")))
            status, found = 200, {"id": "obj_1", "url": "https://pay/1", "status": "open", "amount": 1234}
            if parts.path.endswith("/missing"):
                status, found = 404, {"error": {"type": "invalid_request_error", "message": "no such object"}}
            elif parts.path == "/v1/balance":
                found = {"available": [{"amount": 5, "currency": "eur", "source_types": {}}], "pending": []}
            elif parts.path == "/v1/promotion_codes" and self.command == "GET":
                hit = {
                    "id": "promo_1",
                    "code": "TEN",
                    "active": True,
                    "coupon": {"id": "c1", "percent_off": 10.0},
                }
                found = {"data": [hit] if form["code"] == ["TEN"] else []}
            data = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = answer  # noqa: N815 - the names that the server looks for
        do_POST = answer  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def cell(window, account):
    settings = {
        "STRIPE_SECRET_KEY": "sk_test_1", "STRIPE_API_BASE": account[0], "STRIPE_WEBHOOK_SECRET": SECRET,
        "STRIPE_MAX_CHARGE_CENTS": "10000", "STRIPE_MAX_REFUND_CENTS": "5000",
    }  # fmt: skip
    return window(NAME, settings=settings)


def test_a_checkout_asks_for_one_product(cell, account) -> None:
    wanted = {
        "amount_cents": 1999, "currency": "eur", "success_url": "https://s/ok", "cancel_url": "https://s/no",
        "product_name": "Hat", "metadata": {"order": "7"}, "automatic_tax": True,
    }  # fmt: skip
    assert cell.stripe_checkout_session_create(wanted) == (0, {"id": "obj_1", "url": "https://pay/1"})
    method, path, form, _ = account[1][0]
    assert (method, path) == ("POST", "/v1/checkout/sessions")
    assert form["line_items[0][price_data][unit_amount]"] == ["1999"]
    assert form["line_items[0][price_data][product_data][name]"] == ["Hat"]
    assert form["metadata[order]"] == ["7"]
    assert form["automatic_tax[enabled]"] == ["true"]
    assert cell.stripe_checkout_session_get({"id": "cs_1"})[1]["status"] == "open"
    assert account[1][1][:2] == ("GET", "/v1/checkout/sessions/cs_1")


def test_payments_carry_their_key_and_their_promotion(cell, account) -> None:
    code, reply = cell.stripe_payment_intent_create(
        {"amount_cents": 50, "currency": "usd", "promotion_code_id": "promo_1", "idempotency_key": "once"}
    )
    assert (code, reply["amount"]) == (0, 1234)
    _, _, form, key = account[1][0]
    assert (form["amount"], form["metadata[stripe_promotion_code_id]"], key) == (["50"], ["promo_1"], "once")
    assert cell.stripe_payment_intent_capture({"id": "pi_1"})[0] == 0
    assert account[1][1][1] == "/v1/payment_intents/pi_1/capture"


@pytest.mark.parametrize("amount", [0, -5, 10_001, True, "100", None])
def test_charges_are_bounded(cell, account, amount) -> None:
    assert cell.stripe_payment_intent_create({"amount_cents": amount, "currency": "eur"}) == (12, None)
    assert account[1] == []


def test_refunds_name_an_amount_or_mean_all_of_it(cell, account) -> None:
    assert cell.stripe_refund_create({"payment_intent_id": "pi_1"})[0] == 0
    assert "amount" not in account[1][0][2]
    assert cell.stripe_refund_create({"payment_intent_id": "pi_1", "amount_cents": 5000})[0] == 0
    assert account[1][1][2]["amount"] == ["5000"]
    assert cell.stripe_refund_create({"payment_intent_id": "pi_1", "amount_cents": 0}) == (12, None)
    assert cell.stripe_refund_create({"payment_intent_id": "pi_1", "amount_cents": 5001}) == (12, None)
    assert cell.stripe_refund_create({"amount_cents": 1}) == (14, None)
    assert len(account[1]) == 2


def test_lookups_and_the_balance(cell, account) -> None:
    assert cell.stripe_promotion_code_lookup({"code": "TEN"}) == (
        0, {"id": "promo_1", "code": "TEN", "coupon_id": "c1", "active": True, "percent_off": 10.0},
    )  # fmt: skip
    assert cell.stripe_promotion_code_lookup({"code": "NONE"}) == (0, {})
    assert cell.stripe_balance_get(b"") == (
        0,
        {"available": [{"amount": 5, "currency": "eur"}], "pending": []},
    )


def test_refusals_and_bad_ids(cell, account) -> None:
    assert cell.stripe_payment_intent_get({"id": "missing"}) == (4, None)
    assert cell.stripe_payment_intent_get({"id": "../refunds"}) == (3, None)
    assert cell.stripe_payment_intent_get({}) == (14, None)
    assert cell.stripe_payment_intent_get(b"") == (1, None)
    assert cell.stripe_payment_intent_get(b"\x93\1\2\3") == (3, None)


def signed(payload: bytes, secret: str = SECRET, age: int = 0) -> str:
    stamp = int(time.time()) - age
    digest = hmac.new(secret.encode(), f"{stamp}.".encode() + payload, hashlib.sha256).hexdigest()
    return f"t={stamp},v1={digest}"


def test_webhooks(cell) -> None:
    payload = b'{"id": "evt_1"}'
    assert cell.stripe_webhook_verify({"payload": payload, "signature_header": signed(payload)}) == (0, None)
    for header in (signed(payload, "other"), signed(payload, age=3600), signed(b"x"), "", "t=1"):
        assert cell.stripe_webhook_verify({"payload": payload, "signature_header": header}) == (6, None)


def test_without_a_key_it_is_not_configured(window) -> None:
    cell = window(NAME)
    assert cell.stripe_balance_get(b"") == (10, None)
    assert cell.stripe_webhook_verify({"payload": b"", "signature_header": "x"}) == (10, None)
