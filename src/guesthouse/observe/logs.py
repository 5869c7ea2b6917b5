"""The log: structured events over the standard library's logger ``guesthouse``.

A library must not print on its own, so records travel through :mod:`logging` and end where the embedding
program wants them; without any set-up only warnings are seen, on standard error.  :func:`configure` is for
programs that are Guesthouse themselves, such as the command line.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from structlog.stdlib import BoundLogger

LOGGER = "guesthouse"

#: Values of keys that sound like these never get into the log (DESIGN section 8, invariant 6).
_SECRET = re.compile(
    r"secret|token|passw|authorization|cookie|credential|private_key|api_?key", re.IGNORECASE
)
_LONGEST = 1000


def _scrub(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace secrets and guest bytes by what they are; shorten what is long."""
    return {key: _shown(key, value) for key, value in event.items()}


def _shown(key: str, value: Any) -> Any:
    if _SECRET.search(key):
        return "***"
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, Mapping):
        return {str(inner): _shown(str(inner), part) for inner, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_shown(key, part) for part in value]
    if isinstance(value, str) and len(value) > _LONGEST:
        return f"{value[:_LONGEST]}… ({len(value)} characters)"
    return value


def _to_record(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> tuple[tuple[str], dict[str, Any]]:
    """Hand an event to the standard logger: as text for plain handlers, as fields for ours."""
    exception = event.pop("exc_info", None)
    fields = {"msg": event.pop("event", ""), **event}
    text = {key: value if isinstance(value, str) else str(value) for key, value in fields.items()}
    return (_line(text).replace("%", "%%"),), {"extra": {"fields": fields}, "exc_info": exception}


def _line(fields: dict[str, str]) -> str:
    """Return fields as ``key=value`` pairs, quoted where they need it."""
    from structlog.processors import LogfmtRenderer

    return LogfmtRenderer(key_order=["msg"])(None, "", fields)


class _Lazy:
    """Stands in for the logger until something is logged: structlog takes a third of the import time."""

    def __getattr__(self, name: str) -> Any:
        import structlog

        logger = structlog.wrap_logger(
            logging.getLogger(LOGGER),
            processors=[
                structlog.stdlib.filter_by_level,
                structlog.contextvars.merge_contextvars,
                _scrub,
                _to_record,
            ],
            wrapper_class=structlog.stdlib.BoundLogger,
        )
        for method in ("bind", "debug", "info", "warning", "error", "exception", "critical"):
            setattr(self, method, getattr(logger, method))
        return getattr(logger, name)


#: The log of the whole package: ``log.info("cell ready", cell="demo")``.
log = cast("BoundLogger", _Lazy())


class TextFormatter(logging.Formatter):
    """One line of ``key=value`` pairs per event: ``time=… level=INFO msg="cell ready" cell=demo``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record, and its traceback below."""
        message = record.getMessage() if hasattr(record, "fields") else _line({"msg": record.getMessage()})
        line = f"time={self.formatTime(record, '%Y-%m-%dT%H:%M:%S')} level={_level(record)} {message}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object per event and line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        fields = getattr(record, "fields", None) or {"msg": record.getMessage()}
        head = {"time": record.created, "level": _level(record)}
        if record.exc_info:
            head["exception"] = self.formatException(record.exc_info)
        return json.dumps({**head, **fields}, default=str)


def _level(record: logging.LogRecord) -> str:
    return "WARN" if record.levelno == logging.WARNING else record.levelname


#: Levels of the log, from the one that shows most.
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def configure(level: str = "INFO", *, as_json: bool = False, stream: TextIO | None = None) -> None:
    """Show the log; calling it again replaces the earlier choice.

    Args:
        level: least level shown, such as ``"DEBUG"``.
        as_json: one JSON object per line instead of ``key=value`` text.
        stream: where to; standard error by default.

    Raises:
        ValueError: there is no such level.
    """
    if level.upper() not in LEVELS:
        raise ValueError(f"{level!r} is no level of the log; there are: {', '.join(LEVELS).lower()}")
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    logger = logging.getLogger(LOGGER)
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
