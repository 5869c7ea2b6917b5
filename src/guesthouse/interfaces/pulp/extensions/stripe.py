"""``payment.stripe``: one Stripe account, for cells that are trusted with it (spec/pulp.md 3.11).

Settings: ``STRIPE_SECRET_KEY``; ``STRIPE_WEBHOOK_SECRET`` to verify webhooks; ``STRIPE_MAX_CHARGE_CENTS`` and
``STRIPE_MAX_REFUND_CENTS`` to bound what one request can move; ``STRIPE_API_BASE`` for another server.  There
is no ownership among the account's objects: every cell that declares the capability can act on all of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from guesthouse.engine import HostFunction
from guesthouse.interfaces.pulp import codec, memory
from guesthouse.interfaces.pulp.codec import DecodeError
from guesthouse.interfaces.pulp.extension import Environment, Extension, Refused, aside, reply, take
from guesthouse.observe import log

if TYPE_CHECKING:
    from guesthouse.interfaces.pulp.body import CellCall

BAD_SIGNATURE = 6
NOT_CONFIGURED = 10
BAD_AMOUNT = 12
INVALID = 14

#: Seconds for one question to the service.
TIMEOUT = 25

Request = Mapping[str, Any]
Params = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """One import that asks the service.

    Attributes:
        name: import name.
        method, path: what is asked; ``{id}`` in the path is the request's.
        params: the service's parameters for a request.
        told: fields of the service's answer that the cell gets; ``a=b.c`` takes a nested or renamed one.
        needs: fields of the request that must be there.
        amount: ``charge`` or ``refund`` when ``amount_cents`` is bounded by that limit.
        summary: one line of prose.
    """

    name: str
    method: str
    path: str
    summary: str
    told: tuple[str, ...]
    params: Callable[[Request], Params] = lambda _request: {}
    needs: tuple[str, ...] = ()
    amount: str = ""


def given(request: Request, *names: str) -> Params:
    """Return the fields that a request has; ``a=b`` sends field ``b`` as parameter ``a``."""
    pairs = [name.split("=") if "=" in name else (name, name) for name in names]
    return {
        param: request[field] for param, field in pairs if request.get(field) not in (None, "", [], {}, 0)
    }


def checkout(request: Request) -> Params:
    """Return the parameters of a checkout session for one product."""
    product = given(request, "name=product_name", "description=product_description")
    price = {
        "currency": request.get("currency"),
        "unit_amount": request["amount_cents"],
        "product_data": product,
    }
    tax = {"automatic_tax": {"enabled": True}} if request.get("automatic_tax") else {}
    return {
        "mode": "payment",
        "line_items": [{"price_data": price, "quantity": 1}],
        **given(request, "success_url", "cancel_url", "metadata"),
        **tax,
    }


def intent(request: Request) -> Params:
    """Return the parameters of a payment intent; a promotion code is noted in its metadata."""
    metadata = dict(request.get("metadata") or {})
    if request.get("promotion_code_id"):
        metadata["stripe_promotion_code_id"] = request["promotion_code_id"]
    plain = given(
        request, "amount=amount_cents", "currency", "description", "receipt_email", "capture_method",
        "payment_method_types", "customer",
    )  # fmt: skip
    return plain | ({"metadata": metadata} if metadata else {})


def invoice(request: Request) -> Params:
    """Return the parameters of an invoice."""
    code = request.get("promotion_code_id")
    discounts = {"discounts": [{"promotion_code": code}]} if code else {}
    plain = given(request, "customer", "description", "collection_method", "metadata")
    return {**plain, "auto_advance": bool(request.get("auto_advance")), **discounts}


def promotion(request: Request) -> Params:
    """Return the parameters of a promotion code."""
    plain = given(request, "code", "max_redemptions", "expires_at", "customer", "metadata")
    return {"coupon": request["coupon_id"], "active": bool(request.get("active")), **plain}


INTENT = (
    "id", "status", "amount", "currency", "client_secret", "receipt_email", "capture_method", "latest_charge",
    "last_error=last_payment_error.message", "last_error_code=last_payment_error.code", "metadata",
)  # fmt: skip
INVOICE = ("id", "status", "hosted_invoice_url", "invoice_pdf", "amount_due", "amount_paid")
PROMOTION = (
    "id", "code", "coupon_id=coupon.id", "active", "max_redemptions", "times_redeemed", "expires_at",
    "amount_off=coupon.amount_off", "percent_off=coupon.percent_off", "currency=coupon.currency",
)  # fmt: skip
COUPON = ("id", "valid", "amount_off", "percent_off", "currency", "duration")
SESSION = (
    "id", "url", "status", "payment_intent", "payment_status", "customer_email", "amount_total", "currency",
)  # fmt: skip

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "stripe_checkout_session_create",
        "post",
        "/v1/checkout/sessions",
        "Begin a checkout.",
        ("id", "url"),
        checkout,
        ("currency", "product_name"),
        "charge",
    ),
    Operation(
        "stripe_checkout_session_get", "get", "/v1/checkout/sessions/{id}", "Look a checkout up.", SESSION
    ),
    Operation(
        "stripe_payment_intent_create",
        "post",
        "/v1/payment_intents",
        "Begin a payment.",
        INTENT,
        intent,
        ("currency",),
        "charge",
    ),
    Operation("stripe_payment_intent_get", "get", "/v1/payment_intents/{id}", "Look a payment up.", INTENT),
    Operation(
        "stripe_payment_intent_capture",
        "post",
        "/v1/payment_intents/{id}/capture",
        "Take an authorised payment.",
        INTENT,
    ),
    Operation(
        "stripe_payment_intent_cancel", "post", "/v1/payment_intents/{id}/cancel", "Cancel a payment.", INTENT
    ),
    Operation(
        "stripe_refund_create",
        "post",
        "/v1/refunds",
        "Give money back.",
        ("id", "status"),
        lambda r: given(r, "payment_intent=payment_intent_id", "amount=amount_cents", "reason", "metadata"),
        ("payment_intent_id",),
        "refund",
    ),
    Operation(
        "stripe_customer_create",
        "post",
        "/v1/customers",
        "Add a customer.",
        ("id", "email"),
        lambda r: given(r, "email", "name", "description", "metadata"),
    ),
    Operation(
        "stripe_invoice_create", "post", "/v1/invoices", "Begin an invoice.", INVOICE, invoice, ("customer",)
    ),
    Operation(
        "stripe_invoice_finalize", "post", "/v1/invoices/{id}/finalize", "Finalise an invoice.", INVOICE
    ),
    Operation(
        "stripe_invoice_mark_paid_out_of_band",
        "post",
        "/v1/invoices/{id}/pay",
        "Mark an invoice as paid elsewhere.",
        INVOICE,
        lambda _r: {"paid_out_of_band": True},
    ),
    Operation(
        "stripe_invoice_item_create",
        "post",
        "/v1/invoiceitems",
        "Add a line to an invoice.",
        ("id",),
        lambda r: given(r, "customer", "invoice", "amount=amount_cents", "currency", "description"),
        ("customer", "currency"),
        "charge",
    ),
    Operation(
        "stripe_balance_get", "get", "/v1/balance", "Return the account's balance.", ("available", "pending")
    ),
    Operation(
        "stripe_coupon_create",
        "post",
        "/v1/coupons",
        "Add a coupon.",
        COUPON,
        lambda r: given(
            r,
            "amount_off=amount_off_cents",
            "percent_off",
            "currency",
            "duration",
            "duration_in_months=duration_months",
            "max_redemptions",
            "redeem_by",
            "name",
            "metadata",
        ),
        ("duration",),
    ),
    Operation(
        "stripe_promotion_code_create",
        "post",
        "/v1/promotion_codes",
        "Add a promotion code.",
        PROMOTION,
        promotion,
        ("coupon_id",),
    ),
    Operation(
        "stripe_promotion_code_lookup",
        "get",
        "/v1/promotion_codes",
        "Find a promotion code.",
        PROMOTION,
        lambda r: {"code": r["code"], "limit": 1},
        ("code",),
    ),
    Operation(
        "stripe_promotion_code_update",
        "post",
        "/v1/promotion_codes/{id}",
        "Switch a promotion code.",
        PROMOTION,
        lambda r: {"active": bool(r.get("active"))},
    ),
)


class Stripe(Extension):
    """Asks the payment service for cells."""

    name = "payment.stripe"
    summary = "Checkouts, payments, refunds and invoices of one Stripe account."

    def __init__(self) -> None:
        self._settings: Mapping[str, str] = {}
        self._client: Any = None
        self._lock = threading.Lock()

    def setup(self, environment: Environment) -> None:
        """Note the settings; the service is first spoken to when a cell needs it."""
        self._settings = environment.settings

    def rows(self) -> tuple[HostFunction, ...]:
        """Return the eighteen imports."""
        return (
            self.row("stripe_webhook_verify", "ii", self.verify, "Check the signature of a webhook."),
            *(self.row(o.name, "iiii", self._serve(o), o.summary) for o in OPERATIONS),
        )

    def _connect(self) -> Any:
        """Return the client.

        Raises:
            Refused: with 10, the key or the library is missing.
        """
        key = self._settings.get("STRIPE_SECRET_KEY", "")
        if not key:
            raise Refused(NOT_CONFIGURED, "STRIPE_SECRET_KEY is not set")
        try:
            import stripe
        except ImportError:
            raise Refused(
                NOT_CONFIGURED, "stripe is not installed: pip install 'guesthouse[pulp-stripe]'"
            ) from None
        with self._lock:
            if self._client is None:
                base = self._settings.get("STRIPE_API_BASE")
                self._client = stripe.StripeClient(
                    key,
                    base_addresses={"api": base} if base else {},
                    http_client=stripe.RequestsClient(timeout=TIMEOUT),
                )
            return self._client

    def verify(self, call: CellCall, pointer: int, length: int) -> int:
        """Check {payload, signature_header}: 0, or 6 when it was not signed by the service lately."""
        request = decoded(take(call, pointer, length))
        self._connect()
        secret = self._settings.get("STRIPE_WEBHOOK_SECRET", "")
        if not secret:
            raise Refused(NOT_CONFIGURED, "STRIPE_WEBHOOK_SECRET is not set")
        import stripe

        payload, header = request.get("payload", b""), request.get("signature_header", "")
        if not isinstance(payload, str | bytes) or not isinstance(header, str):
            raise DecodeError("payload is bytes, signature_header is text")
        try:
            stripe.WebhookSignature.verify_header(payload, header, secret, tolerance=300)
        except (stripe.SignatureVerificationError, UnicodeDecodeError) as error:
            raise Refused(BAD_SIGNATURE, str(error)) from None
        return memory.OK

    def _serve(self, operation: Operation) -> Callable[..., int]:
        def serve(call: CellCall, pointer: int, length: int, pointer_out: int, length_out: int) -> int:
            request = (
                decoded(take(call, pointer, length)) if length or operation.path != "/v1/balance" else {}
            )
            client = self._connect()
            self._check(operation, request, call.guest)
            answer = aside(call, 2 * TIMEOUT, lambda: self._ask(client, operation, request, call.guest))
            return reply(call, codec.encode(told(operation, answer)), pointer_out, length_out)

        return serve

    def _check(self, operation: Operation, request: Request, cell: str) -> None:
        """Refuse what misses a field, or moves nothing or more than the operator allows."""
        wanted = (*operation.needs, *(("id",) if "{id}" in operation.path else ()))
        missing = [name for name in wanted if not isinstance(request.get(name), str) or not request[name]]
        if missing:
            raise Refused(INVALID, f"{operation.name} needs {', '.join(missing)}")
        if not operation.amount or (operation.amount == "refund" and request.get("amount_cents") is None):
            return  # a refund that names no amount is a whole one
        amount = request.get("amount_cents")
        limit = self._settings.get(f"STRIPE_MAX_{operation.amount.upper()}_CENTS", "")
        most = int(limit) if limit.isdecimal() else 0
        if isinstance(amount, bool) or not isinstance(amount, int) or amount <= 0 or (most and amount > most):
            log.warning("amount refused", cell=cell, operation=operation.name, cents=amount, most=most)
            raise Refused(BAD_AMOUNT, f"amount_cents is {amount!r}, at most {most or 'anything'} is allowed")

    def teardown(self) -> None:
        """Close the connections."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client._requestor._client.close()

    @staticmethod
    def _ask(client: Any, operation: Operation, request: Request, cell: str) -> Mapping[str, Any]:
        import stripe

        params = operation.params(request)
        if isinstance(request.get("idempotency_key"), str) and request["idempotency_key"]:
            params["idempotency_key"] = request["idempotency_key"]
        path = operation.path.format(id=_segment(request.get("id", "")))
        try:
            answer = client.raw_request(operation.method, path, **params)
        except stripe.StripeError as error:
            log.error(
                "payment service refused", cell=cell, operation=operation.name, code=error.code,
                status=error.http_status, request=error.request_id,
            )  # fmt: skip
            raise Refused(memory.FAILED, "the payment service refused; the log says more") from None
        data: Mapping[str, Any] = answer.data
        if operation.name == "stripe_promotion_code_lookup":
            return next(iter(data.get("data") or ()), {})
        return data


def decoded(data: bytes) -> dict[str, Any]:
    """Decode a request.

    Raises:
        DecodeError: it is no map with text keys.
    """
    value = codec.decode(data)
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise DecodeError("a request is a map")
    return value


def told(operation: Operation, answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of an answer that cells get; what is not there is left out."""
    found: dict[str, Any] = {}
    for entry in operation.told:
        name, _, path = entry.partition("=")
        value: Any = answer
        for part in (path or name).split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if name in ("available", "pending"):
            value = [{"amount": e.get("amount", 0), "currency": e.get("currency", "")} for e in value or ()]
        if isinstance(value, Mapping) and "id" in value and name != "metadata":
            value = value["id"]  # an expanded object
        if value not in (None, ""):
            found[name] = dict(value) if isinstance(value, Mapping) else value
    return found


def _segment(text: str) -> str:
    """Return an id as one segment of a path.

    Raises:
        DecodeError: no object can have such an id.
    """
    if not all(letter.isascii() and (letter.isalnum() or letter in "_-") for letter in text):
        raise DecodeError(f"{text!r} is no id")
    return text
