"""Carries trials to bench sessions."""
