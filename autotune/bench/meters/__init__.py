"""Each takes one family of metrics."""
