"""The HTTP API: submit, watch, stop and read studies. Studies run in processes of their own."""
