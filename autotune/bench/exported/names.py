"""What the files of an exported model are called; read without torch."""

STRUCTURE = "structure.json"
"""There where transformers alone cannot load the weights."""

WEIGHTS = "weights{suffix}.safetensors"
"""Then its weights; not as transformers calls them: it would fill in random numbers for those that
it misses."""

ENGINE_FOLDER = "engine"
"""Holds the files of an engine that computes from files of its own."""

TOKENS_FILE = "tokens.safetensors"
"""The token ids of the study's workload."""
