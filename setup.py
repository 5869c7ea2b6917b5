"""Build the Cython data plane; everything else is declared in pyproject.toml."""

from __future__ import annotations

import os
import pathlib
import sys

from Cython.Build import cythonize
from setuptools import Extension, setup

if not sys.platform.startswith("linux"):
    raise SystemExit("Guesthouse runs on Linux (x86-64 and aarch64) only; this is " + sys.platform)

SOURCES = pathlib.Path("src")


def extensions() -> list[Extension]:
    """Return one extension per ``.pyx`` file below ``src``, named after its package path."""
    found = []
    for path in sorted(SOURCES.rglob("*.pyx")):
        name = ".".join(path.with_suffix("").relative_to(SOURCES).parts)
        found.append(
            Extension(
                name,
                [str(path)],
                extra_compile_args=["-O2", "-fno-strict-aliasing", "-Wno-unused-function"],
                libraries=["pthread"],
            )
        )
    return found


setup(
    options={"build_ext": {"parallel": os.cpu_count() or 1}},
    ext_modules=cythonize(
        extensions(),
        include_path=[str(SOURCES)],
        nthreads=os.cpu_count() or 1,
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "embedsignature": True,
            "freethreading_compatible": False,
        },
    ),
)
