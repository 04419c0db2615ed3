"""What runs inside the bench process; the only room that may import torch."""
