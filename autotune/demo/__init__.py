"""The small language model that autotune trains for itself."""
