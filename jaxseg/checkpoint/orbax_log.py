"""Silences log records of Orbax that are normal here. Importing this file is enough."""

import logging


class _Quiet(logging.Filter):
    """Drops some log records of Orbax: warnings about checkpoints without metrics (normal here),
    warnings about saves in quick succession (any busy disk causes them), and tracebacks of its
    threads for errors that are raised anyway."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if record.exc_info and "orbax" in record.pathname:
            return False
        return "did not provide metrics" not in text and "Waiting for previous save" not in text


logging.getLogger("absl").addFilter(_Quiet())
logging.getLogger().addFilter(_Quiet())
