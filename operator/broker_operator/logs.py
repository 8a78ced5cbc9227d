"""Logs as lines of JSON or text, on standard error. Never manifests, never Secrets: only names and reasons."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if cluster := getattr(record, "object", None):
            line["object"] = str(cluster)
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class _Text(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the standard library's name
        cluster = getattr(record, "object", None)
        text = super().formatMessage(record)
        return f"{text} object={cluster}" if cluster else text


def configure(log_format: str, level: str) -> None:
    """Send all logs to standard error. kopf and the HTTP libraries are heard only when something is wrong."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Json() if log_format == "json" else _Text())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("broker_operator").setLevel(level.upper())
    # It warns that signals are ignored off the main thread: that is what we want of it.
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
