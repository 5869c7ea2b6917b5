"""Kernel images: which kind one is, and bundles of several kinds (spec fabric.md 10)."""

from __future__ import annotations

import struct
from collections.abc import Collection
from typing import Final

from guesthouse.resources.gpu.failures import BAD_IMAGE, NOT_RUNNABLE, SessionError

PTX: Final = 1
CUBIN: Final = 2
FATBIN: Final = 3
OPENCL: Final = 4
REFERENCE: Final = 5
KINDS: Final = {
    PTX: "PTX",
    CUBIN: "cubin",
    FATBIN: "fatbin",
    OPENCL: "OpenCL C",
    REFERENCE: "reference kernels",
}

BUNDLE_MAGIC: Final = b"FGB1"
_ELF = b"\x7fELF"
_FATBIN = (0xBA55ED50).to_bytes(4, "little")
_HEAD = struct.Struct("<4sI")
_ENTRY = struct.Struct("<II")


def pick(image: bytes, runnable: Collection[int]) -> tuple[int, bytes]:
    """Return kind and bytes of what a backend runs of an image.

    Args:
        image: a bare image or a bundle; of a bundle the first runnable kind is taken.
        runnable: the kinds that the backend runs.

    Raises:
        SessionError: the image is malformed (2), or no kind of it runs here (3).
    """
    if image[:4] == BUNDLE_MAGIC:
        offers = _unpack(image)
    else:
        offers = [(_kind_of(image), image)]
    for kind, data in offers:
        if kind in runnable:
            return kind, data
    names = ", ".join(KINDS.get(kind, f"kind {kind}") for kind, _ in offers) or "an empty bundle"
    raise SessionError(NOT_RUNNABLE, names)


def bundle(images: Collection[tuple[int, bytes]]) -> bytes:
    """Pack images of several kinds into one, best first."""
    parts = [_HEAD.pack(BUNDLE_MAGIC, len(images))]
    for kind, data in images:
        parts += [_ENTRY.pack(kind, len(data)), data]
    return b"".join(parts)


def _unpack(image: bytes) -> list[tuple[int, bytes]]:
    if len(image) < _HEAD.size:
        raise SessionError(BAD_IMAGE, "a bundle without a head")
    _, count = _HEAD.unpack_from(image)
    offers, at = [], _HEAD.size
    for number in range(count):
        if at + _ENTRY.size > len(image):
            raise SessionError(BAD_IMAGE, f"the bundle ends before image {number} of {count}")
        kind, length = _ENTRY.unpack_from(image, at)
        at += _ENTRY.size
        if at + length > len(image):
            raise SessionError(BAD_IMAGE, f"image {number} of the bundle is cut off")
        offers.append((kind, image[at : at + length]))
        at += length
    return offers


def _kind_of(image: bytes) -> int:
    if image[:4] == _ELF:
        return CUBIN
    if image[:4] == _FATBIN:
        return FATBIN
    if b".version" in image and b".target" in image:
        return PTX
    if b"__kernel" in image or b"kernel void" in image:
        return OPENCL
    raise SessionError(BAD_IMAGE, "neither PTX, cubin, fatbin, OpenCL C nor a bundle")
