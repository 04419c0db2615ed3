"""The base of all messages."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Message(BaseModel):
    """Base of all messages: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
