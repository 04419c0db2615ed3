"""Celery workers: ``python -m autotune_workers``, or better ``autotune worker``."""
