"""Kernels written in numpy, found by name: for bundles that must run anywhere (spec fabric.md 10).

Further ones come from installed packages, through the entry-point group ``guesthouse.gpu_kernels``; each is
a :class:`Reference`.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from guesthouse.resources.gpu.contract import Launch
from guesthouse.resources.gpu.store import Array, Store

ENTRY_POINTS = "guesthouse.gpu_kernels"


@dataclass(frozen=True, slots=True)
class Reference:
    """One kernel.

    Attributes:
        params: a letter per argument, as in :mod:`struct`: ``Q`` for pointers, ``I``, ``i``, ``f``, ``d``.
        run: computes it; gets the memory, the launch and the arguments' values.
    """

    params: str
    run: Callable[[Store, Launch, Sequence[Any]], None]


def _array(store: Store, pointer: int, count: int, dtype: str) -> Array:
    """Elements in device memory, all of them inside one allocation."""
    return store.view(pointer, count * np.dtype(dtype).itemsize).view(dtype)


def _threads(launch: Launch, count: int) -> int:
    """How many of `count` elements the launch has threads for, one each."""
    return min(count, launch.threads * launch.blocks)


def _vector_add(store: Store, launch: Launch, values: Sequence[Any]) -> None:
    a, b, out, count = values
    n = _threads(launch, count)
    _array(store, out, n, "f4")[:] = _array(store, a, n, "f4") + _array(store, b, n, "f4")


def _saxpy(store: Store, launch: Launch, values: Sequence[Any]) -> None:
    factor, x, y, count = values
    n = _threads(launch, count)
    target = _array(store, y, n, "f4")
    target[:] = np.float32(factor) * _array(store, x, n, "f4") + target


def _fill(store: Store, launch: Launch, values: Sequence[Any]) -> None:
    out, value, count = values
    _array(store, out, _threads(launch, count), "u4")[:] = value


#: All kernels by name.
KERNELS: dict[str, Reference] = {
    "vector_add_f32": Reference("QQQI", _vector_add),
    "saxpy_f32": Reference("fQQI", _saxpy),
    "fill_u32": Reference("QII", _fill),
}
for _point in importlib.metadata.entry_points(group=ENTRY_POINTS):
    KERNELS.setdefault(_point.name, _point.load())
