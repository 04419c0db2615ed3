"""Serves a loaded model to clients that speak OpenAI's API."""

from autotune.openai.command import main, serve

__all__ = ["main", "serve"]
