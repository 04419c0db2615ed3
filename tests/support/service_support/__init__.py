"""Help for tests of the HTTP API."""
