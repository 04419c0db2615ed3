"""Celery workers; nothing runs here yet (ARCHITECTURE.md, status)."""
