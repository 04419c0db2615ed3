"""Help for tests of the server that speaks OpenAI's API."""
