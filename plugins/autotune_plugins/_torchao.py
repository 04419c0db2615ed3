"""What plugins that quantize by torchao share; no plugin."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_torchao() -> Iterator[None]:
    """Drops one log line: on import torchao says which of its GPU libraries do not load here."""
    logger = logging.getLogger("torchao")

    def wanted(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("Failed to load ")

    logger.addFilter(wanted)
    try:
        yield
    finally:
        logger.removeFilter(wanted)
