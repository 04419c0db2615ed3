"""What executes a prepared model."""
