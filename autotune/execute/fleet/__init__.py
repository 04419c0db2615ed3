"""Trials on workers: Celery carries the message, the database holds the job, Redis tells who is
there. Only JSON travels."""
