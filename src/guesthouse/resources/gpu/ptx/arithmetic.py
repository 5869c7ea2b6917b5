"""Arithmetic of PTX on arrays, bit for bit: wrap-around integers, rounding to nearest even."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

Array = Any  # numpy arrays: their operators are typed too loosely to be worth casts on every line

TYPES: Final[dict[str, np.dtype[Any]]] = {
    **{f"u{bits}": np.dtype(f"u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"b{bits}": np.dtype(f"u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"s{bits}": np.dtype(f"i{bits // 8}") for bits in (8, 16, 32, 64)},
    "f32": np.dtype("f4"),
    "f64": np.dtype("f8"),
    "pred": np.dtype("?"),
}


def is_float(kind: np.dtype[Any]) -> bool:
    """Whether values of a type are floating point."""
    return kind.kind == "f"


def flush(values: Array) -> Array:
    """Numbers too small for the normal format as zeros of the same sign (``.ftz``)."""
    tiny = np.abs(values) < np.finfo(values.dtype).tiny
    flushed: Array = np.where(tiny, np.copysign(values.dtype.type(0), values), values)
    return flushed


def saturate(values: Array) -> Array:
    """Into 0..1, NaN to 0 (``.sat``)."""
    one = values.dtype.type(1)
    return np.where(np.isnan(values), values.dtype.type(0), np.clip(values, values.dtype.type(0), one))


def divide(a: Array, b: Array) -> Array:
    """Quotient; of integers towards zero, and all ones for a division by zero."""
    if is_float(a.dtype):
        return a / b
    zero = b == 0
    safe = np.where(zero, b.dtype.type(1), b)
    quotient = a // safe
    if a.dtype.kind == "i":
        quotient += ((a - quotient * safe) != 0) & ((a < 0) != (safe < 0))
    return np.where(zero, ~a.dtype.type(0), quotient)


def remainder(a: Array, b: Array) -> Array:
    """Remainder with the sign of the dividend; the dividend itself for a division by zero."""
    zero = b == 0
    safe = np.where(zero, b.dtype.type(1), b)
    return np.where(zero, a, a - divide(a, safe) * safe)


def multiply_high(a: Array, b: Array) -> Array:
    """Upper half of the product."""
    bits = a.dtype.itemsize * 8
    if bits < 64:
        wide = np.dtype(f"{a.dtype.kind}8")
        upper: Array = (a.astype(wide) * b.astype(wide)) >> wide.type(bits)
        return upper.astype(a.dtype)
    x, y, half, low = a.view(np.uint64), b.view(np.uint64), np.uint64(32), np.uint64(0xFFFFFFFF)
    x0, x1, y0, y1 = x & low, x >> half, y & low, y >> half
    middle = x1 * y0 + ((x0 * y0) >> half)
    other = x0 * y1 + (middle & low)
    high = x1 * y1 + (middle >> half) + (other >> half)
    if a.dtype.kind == "i":
        high = high - np.where(a < 0, y, np.uint64(0)) - np.where(b < 0, x, np.uint64(0))
    return high.view(a.dtype)


def multiply_wide(a: Array, b: Array) -> Array:
    """The whole product, twice as wide."""
    wide = np.dtype(f"{a.dtype.kind}{a.dtype.itemsize * 2}")
    return a.astype(wide) * b.astype(wide)


def fused(a: Array, b: Array, c: Array) -> Array:
    """Compute a * b + c, rounded once.

    The sum is rounded to odd in a format wide enough that the final rounding is the only one that counts.
    """
    if a.dtype == np.float32:
        product = a.astype(np.float64) * b.astype(np.float64)  # exact: 24 + 24 bits fit
        total, error = _two_sum(product, c.astype(np.float64))
        return _to_odd(total, error).astype(np.float32)
    high, low = _two_product(a, b)
    total, error = _two_sum(c, low)
    upper, rest = _two_sum(high, total)
    result = upper + _to_odd(*_two_sum(error, rest))
    plain = a * b + c
    # The exact products need headroom; at the ends of the range the plain result is as good as there is.
    return np.where(np.isfinite(result) & np.isfinite(high), result, plain)


def _two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """Sum and its rounding error."""
    total = a + b
    back = total - a
    return total, (a - (total - back)) + (b - back)


def _two_product(a: Array, b: Array) -> tuple[Array, Array]:
    """Product and its rounding error."""
    product = a * b
    splitter = 134_217_729.0
    a_high = (a * splitter) - ((a * splitter) - a)
    b_high = (b * splitter) - ((b * splitter) - b)
    a_low, b_low = a - a_high, b - b_high
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def _to_odd(total: Array, error: Array) -> Array:
    """Move an inexact sum to its neighbour with an odd last bit, towards the exact value."""
    bits = total.view(np.int64)
    inexact = (error != 0) & np.isfinite(total) & ((bits & 1) == 0)
    towards = np.where((error > 0) == (total > 0), 1, -1)
    return np.where(inexact, bits + towards, bits).view(np.float64)


ROUNDINGS: Final[dict[str, Callable[[Array], Array]]] = {
    "rni": np.rint,
    "rzi": np.trunc,
    "rmi": np.floor,
    "rpi": np.ceil,
}


def to_integer(values: Array, kind: np.dtype[Any], rounding: str) -> Array:
    """A float as an integer: rounded, clamped to the type's range, NaN to 0."""
    rounded = ROUNDINGS[rounding](values.astype(np.float64))
    info = np.iinfo(kind)
    above, below = rounded >= float(info.max), rounded <= float(info.min)
    middle = np.where(above | below | np.isnan(rounded), 0.0, rounded).astype(kind)
    return np.where(above, kind.type(info.max), np.where(below, kind.type(info.min), middle))


def shift_left(a: Array, count: Array) -> Array:
    """Shift left; everything is shifted out by the width or more."""
    width = a.dtype.itemsize * 8
    inside = count < width
    return np.where(inside, a << np.where(inside, count, 0).astype(a.dtype), a.dtype.type(0))


def shift_right(a: Array, count: Array) -> Array:
    """Shift right, filling with the sign of signed types."""
    width = a.dtype.itemsize * 8
    if a.dtype.kind == "i":
        return a >> np.minimum(count, width - 1).astype(a.dtype)
    inside = count < width
    return np.where(inside, a >> np.where(inside, count, 0).astype(a.dtype), a.dtype.type(0))


def negate(a: Array) -> Array:
    """The negative value, of floats by the sign bit alone."""
    return -a if a.dtype.kind != "u" else (~a + a.dtype.type(1))


def _unordered(a: Array, b: Array) -> Array:
    missing: Array = np.isnan(a) | np.isnan(b) if is_float(a.dtype) else np.zeros(1, bool)
    return missing


COMPARISONS: Final[dict[str, Callable[[Array, Array], Array]]] = {
    "eq": np.equal,
    "ne": lambda a, b: (a != b) & ~_unordered(a, b),
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "lo": np.less,
    "ls": np.less_equal,
    "hi": np.greater,
    "hs": np.greater_equal,
    "equ": lambda a, b: (a == b) | _unordered(a, b),
    "neu": np.not_equal,
    "ltu": lambda a, b: (a < b) | _unordered(a, b),
    "leu": lambda a, b: (a <= b) | _unordered(a, b),
    "gtu": lambda a, b: (a > b) | _unordered(a, b),
    "geu": lambda a, b: (a >= b) | _unordered(a, b),
    "num": lambda a, b: ~_unordered(a, b),
    "nan": _unordered,
}
