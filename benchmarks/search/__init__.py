"""Judges a search on recorded tables: see ``__main__.py``."""
