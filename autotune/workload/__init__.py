"""What is run: the model, its task, prompts and texts."""
