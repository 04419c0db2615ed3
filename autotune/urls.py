"""URLs that may hold passwords, for people to read."""

from __future__ import annotations

from urllib.parse import urlsplit


def without_secrets(url: str) -> str:
    """A URL without its password and its query; only the scheme of one that cannot be read.

    Args:
        url: Of a broker or a database.
    """
    parts = urlsplit(url)
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError:  # a slash in the password
        return f"{parts.scheme}://…"
    if "@" in parts.path:
        return f"{parts.scheme}://…"
    user = parts.username or ""
    if parts.password:
        user += ":***"
    host = f"{user}@{parts.hostname}" if user else parts.hostname or ""
    return f"{parts.scheme}://{host}{port}{parts.path}"
