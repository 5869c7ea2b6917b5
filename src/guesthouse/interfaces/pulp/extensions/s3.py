"""``storage.s3``: one bucket of an S3-compatible store (spec/pulp.md 3.11).

Settings: ``S3_ACCESS_KEY_ID``, ``S3_SECRET_ACCESS_KEY``, ``S3_BUCKET``, and ``S3_ENDPOINT`` or, for
Cloudflare R2, ``S3_ACCOUNT_ID``; each may also start with ``R2_``.  Without them every call answers 10.
"""

# ruff: noqa: RUF009 - `go` declares a dataclass field, with a fresh default for every instance

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from guesthouse.engine import HostFunction
from guesthouse.interfaces.pulp import memory
from guesthouse.interfaces.pulp.codec import DecodeError
from guesthouse.interfaces.pulp.extension import Environment, Extension, Refused, aside, reply, request
from guesthouse.interfaces.pulp.structs import Message, go

if TYPE_CHECKING:
    from guesthouse.interfaces.pulp.body import CellCall

NOT_FOUND = 6
NOT_CONFIGURED = 10
ACCESS_DENIED = 11

#: What the store calls an object that is not there.
MISSING = frozenset({"NoSuchKey", "NotFound", "404", "NoSuchUpload"})
#: Bytes of an object that is handed to a cell as a whole; larger ones are for presigned URLs.
LARGEST_BODY = 64 << 20
LONGEST_TTL = 7 * 86_400
#: Seconds for one request, its repetitions included.
TIMEOUT = 120.0


@dataclass(slots=True)
class ObjectRequest(Message):
    """One request for all functions; each looks at the fields that it knows."""

    key: str = go("str")
    body: bytes = go("bytes")
    content_length: int = go("int64")
    content_type: str = go("str")
    upload_id: str = go("str")
    part_number: int = go("int64")
    data: bytes = go("bytes")
    parts: Any = go("any")
    ttl_sec: int = go("int64")
    src_key: str = go("str")
    dst_key: str = go("str")
    prefix: str = go("str")
    continuation_token: str = go("str")
    max_keys: int = go("int64")


@dataclass(slots=True)
class Upload(Message):
    """A multipart upload that was begun."""

    upload_id: str = go("str")


@dataclass(slots=True)
class Part(Message):
    """A part that was stored."""

    etag: str = go("str")


@dataclass(slots=True)
class Link(Message):
    """A presigned URL."""

    url: str = go("str")


@dataclass(slots=True)
class Head(Message):
    """Size and time of an object."""

    size: int = go("int64")
    last_modified_unix: int = go("int64")


@dataclass(slots=True)
class Object(Message):
    """A whole object."""

    body: bytes = go("bytes")
    content_type: str = go("str")
    content_length: int = go("int64")
    etag: str = go("str")


@dataclass(slots=True)
class Listing(Message):
    """One page of a listing."""

    entries: Any = go("any")
    next_continuation_token: str = go("str")
    is_truncated: bool = go("bool")


#: What a function does: the client, the bucket and the request to a reply, or to nothing.
Operation = Callable[[Any, str, ObjectRequest], Message | None]


def _put(client: Any, bucket: str, wanted: ObjectRequest) -> None:
    client.put_object(Bucket=bucket, Key=wanted.key, Body=wanted.body)


def _put_sized(client: Any, bucket: str, wanted: ObjectRequest) -> None:
    if wanted.content_length != len(wanted.body):
        raise DecodeError(f"content_length is {wanted.content_length}, the body has {len(wanted.body)} bytes")
    kind = {"ContentType": wanted.content_type} if wanted.content_type else {}
    client.put_object(
        Bucket=bucket, Key=wanted.key, Body=wanted.body, ContentLength=wanted.content_length, **kind
    )


def _begin(client: Any, bucket: str, wanted: ObjectRequest) -> Upload:
    kind = {"ContentType": wanted.content_type} if wanted.content_type else {}
    return Upload(client.create_multipart_upload(Bucket=bucket, Key=wanted.key, **kind)["UploadId"])


def _part(client: Any, bucket: str, wanted: ObjectRequest) -> Part:
    stored = client.upload_part(
        Bucket=bucket, Key=wanted.key, UploadId=wanted.upload_id, PartNumber=wanted.part_number,
        Body=wanted.data,
    )  # fmt: skip
    return Part(stored["ETag"])


def _complete(client: Any, bucket: str, wanted: ObjectRequest) -> None:
    parts = wanted.parts if isinstance(wanted.parts, list) else []
    if not parts or not all(isinstance(part, dict) for part in parts):
        raise DecodeError("parts is a list of {part_number, etag}")
    stored = [{"PartNumber": part.get("part_number", 0), "ETag": part.get("etag", "")} for part in parts]
    client.complete_multipart_upload(
        Bucket=bucket, Key=wanted.key, UploadId=wanted.upload_id, MultipartUpload={"Parts": stored}
    )


def _abort(client: Any, bucket: str, wanted: ObjectRequest) -> None:
    client.abort_multipart_upload(Bucket=bucket, Key=wanted.key, UploadId=wanted.upload_id)


def _presign(method: str) -> Operation:
    def presign(client: Any, bucket: str, wanted: ObjectRequest) -> Link:
        if not 0 < wanted.ttl_sec <= LONGEST_TTL:
            raise DecodeError(f"ttl_sec is {wanted.ttl_sec}, a link lives 1 to {LONGEST_TTL} seconds")
        target = {"Bucket": bucket, "Key": wanted.key}
        return Link(client.generate_presigned_url(method, Params=target, ExpiresIn=wanted.ttl_sec))

    return presign


def _head(client: Any, bucket: str, wanted: ObjectRequest) -> Head:
    found = client.head_object(Bucket=bucket, Key=wanted.key)
    return Head(found["ContentLength"], int(found["LastModified"].timestamp()))


def _get(client: Any, bucket: str, wanted: ObjectRequest) -> Object:
    found = client.get_object(Bucket=bucket, Key=wanted.key)
    with found["Body"] as stream:
        if found["ContentLength"] > LARGEST_BODY:
            raise Refused(
                memory.FAILED, f"the object has {found['ContentLength']} bytes; use a presigned URL"
            )
        body = stream.read(LARGEST_BODY)
    return Object(body, found.get("ContentType", ""), len(body), found.get("ETag", ""))


def _copy(client: Any, bucket: str, wanted: ObjectRequest) -> None:
    if not wanted.src_key or not wanted.dst_key:
        raise DecodeError("src_key and dst_key are needed")
    client.copy_object(
        Bucket=bucket, Key=wanted.dst_key, CopySource={"Bucket": bucket, "Key": wanted.src_key}
    )


def _delete(client: Any, bucket: str, wanted: ObjectRequest) -> None:
    client.delete_object(Bucket=bucket, Key=wanted.key)


def _list(client: Any, bucket: str, wanted: ObjectRequest) -> Listing:
    options: dict[str, Any] = {"Prefix": wanted.prefix} if wanted.prefix else {}
    if wanted.continuation_token:
        options["ContinuationToken"] = wanted.continuation_token
    if wanted.max_keys > 0:
        options["MaxKeys"] = wanted.max_keys
    page = client.list_objects_v2(Bucket=bucket, **options)
    entries = [
        {
            "key": item["Key"],
            "size": item["Size"],
            "last_modified_unix": int(item["LastModified"].timestamp()),
        }
        for item in page.get("Contents", ())
    ]
    return Listing(entries, page.get("NextContinuationToken", ""), page.get("IsTruncated", False))


#: Name, operation, whether a key is needed, and one line of prose.
FUNCTIONS: tuple[tuple[str, Operation, bool, str], ...] = (
    ("s3_put", _put, True, "Store an object."),
    ("s3_put_sized", _put_sized, True, "Store an object of a stated length and type."),
    ("s3_put_multipart_init", _begin, True, "Begin an upload in parts."),
    ("s3_put_multipart_part", _part, True, "Upload one part."),
    ("s3_put_multipart_complete", _complete, True, "Make an object of the parts."),
    ("s3_put_multipart_abort", _abort, True, "Throw the parts away."),
    ("s3_presign", _presign("get_object"), True, "Return a URL that downloads an object."),
    ("s3_presign_put", _presign("put_object"), True, "Return a URL that uploads an object."),
    ("s3_head", _head, True, "Return size and time of an object."),
    ("s3_get", _get, True, "Return an object."),
    ("s3_copy", _copy, False, "Copy an object within the bucket."),
    ("s3_delete", _delete, True, "Delete an object."),
    ("s3_list", _list, False, "List objects by prefix, a page at a time."),
)
#: Those that answer with a code alone.
SILENT = frozenset(
    {"s3_put", "s3_put_sized", "s3_put_multipart_complete", "s3_put_multipart_abort", "s3_copy", "s3_delete"}
)


class S3(Extension):
    """Objects in one bucket, shared by the cells of a runtime."""

    name = "storage.s3"
    summary = "Objects in an S3-compatible bucket."

    def __init__(self) -> None:
        self._settings: Mapping[str, str] = {}
        self._client: Any = None
        self._lock = threading.Lock()

    def setup(self, environment: Environment) -> None:
        """Note the settings; the store is first spoken to when a cell needs it."""
        self._settings = environment.settings

    def rows(self) -> tuple[HostFunction, ...]:
        """Return the thirteen imports."""
        return tuple(
            self.row(name, "ii" if name in SILENT else "iiii", self._serve(operation, keyed), summary)
            for name, operation, keyed, summary in FUNCTIONS
        )

    def _setting(self, name: str) -> str:
        return self._settings.get(f"S3_{name}") or self._settings.get(f"R2_{name}") or ""

    def _connect(self) -> Any:
        """Return the client; boto3's clients may be used by many threads.

        Raises:
            Refused: with 10, a setting or the library is missing.
        """
        with self._lock:
            if self._client is None:
                self._client = self._open()
            return self._client

    def _open(self) -> Any:
        names = ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "BUCKET")
        missing = [f"S3_{name}" for name in names if not self._setting(name)]
        endpoint = self._settings.get("S3_ENDPOINT", "")
        if not endpoint and self._setting("ACCOUNT_ID"):
            endpoint = f"https://{self._setting('ACCOUNT_ID')}.r2.cloudflarestorage.com"
        if missing or not endpoint:
            needed = ", ".join([*missing, *([] if endpoint else ["S3_ENDPOINT"])])
            raise Refused(NOT_CONFIGURED, f"not set: {needed}")
        try:
            import boto3
            from botocore.config import Config
        except ImportError:
            raise Refused(NOT_CONFIGURED, "boto3 is not installed: pip install 'guesthouse[pulp]'") from None
        return boto3.client(
            "s3", endpoint_url=endpoint, region_name="auto",
            aws_access_key_id=self._setting("ACCESS_KEY_ID"),
            aws_secret_access_key=self._setting("SECRET_ACCESS_KEY"),
            config=Config(
                s3={"addressing_style": "path"}, connect_timeout=5, read_timeout=25,
                retries={"max_attempts": 2},
            ),
        )  # fmt: skip

    def _serve(self, operation: Operation, keyed: bool) -> Callable[..., int]:
        def serve(
            call: CellCall, pointer: int, length: int, pointer_out: int = 0, length_out: int = 0
        ) -> int:
            wanted = request(call, pointer, length, ObjectRequest)
            if keyed and not wanted.key:
                raise DecodeError("key is needed")
            client = self._connect()
            answer = aside(call, TIMEOUT, lambda: self._ask(operation, client, wanted))
            return memory.OK if answer is None else reply(call, answer, pointer_out, length_out)

        return serve

    def _ask(self, operation: Operation, client: Any, wanted: ObjectRequest) -> Message | None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return operation(client, self._setting("BUCKET"), wanted)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in MISSING:
                raise Refused(NOT_FOUND, code) from None
            if code in ("AccessDenied", "403"):
                raise Refused(ACCESS_DENIED, code) from None
            raise Refused(memory.FAILED, f"the store answered {code}") from None
        except BotoCoreError as error:
            raise Refused(memory.FAILED, str(error)) from None

    def teardown(self) -> None:
        """Close the connections."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()
