"""A finished model as files: plain tensors and plain data, and back again without running code."""
