"""Settings of one Faasm function, from the configuration it was loaded with (spec 6.4)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from guesthouse.errors import ManifestError

#: Two ABIs share the name ``__faasm_await_call_output`` and its wasm type (spec 2.2).
AWAIT_FORMS = ("pointer", "buffer")


@dataclass(frozen=True, slots=True)
class Settings:
    """What can be set per function.

    Attributes:
        capture_stdout: ``CAPTURE_STDOUT``: put what is printed before the output.
        python_preload: ``PYTHON_PRELOAD``, which guests can ask for.
        chained_timeout: ``CHAINED_CALL_TIMEOUT`` in milliseconds; here in seconds.
        await_form: ``AWAIT_OUTPUT_FORM``: ``pointer`` (the host allocates) or ``buffer`` (the old one).
    """

    capture_stdout: bool = False
    python_preload: bool = False
    chained_timeout: float = 300.0
    await_form: str = "pointer"

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Settings:
        """Take the settings out of a configuration; other keys belong to the guest.

        Raises:
            ManifestError: a value is none of those a setting can have.
        """
        timeout = config.get("CHAINED_CALL_TIMEOUT", 300_000)
        try:
            seconds = float(timeout) / 1000
        except (TypeError, ValueError):
            seconds = -1.0
        if not math.isfinite(seconds) or seconds < 0:
            raise ManifestError(f"{timeout!r} is no number of milliseconds", key="CHAINED_CALL_TIMEOUT")
        form = config.get("AWAIT_OUTPUT_FORM", "pointer")
        if form not in AWAIT_FORMS:
            raise ManifestError(f"{form!r} is none of {', '.join(AWAIT_FORMS)}", key="AWAIT_OUTPUT_FORM")
        return cls(
            capture_stdout=_switch(config, "CAPTURE_STDOUT"),
            python_preload=_switch(config, "PYTHON_PRELOAD"),
            chained_timeout=seconds,
            await_form=form,
        )


def _switch(config: Mapping[str, Any], key: str) -> bool:
    value = config.get(key, "off")
    if isinstance(value, bool):
        return value
    if value not in ("on", "off"):
        raise ManifestError(f"{value!r} is neither 'on' nor 'off'", key=key)
    return bool(value == "on")
