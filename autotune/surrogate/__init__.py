"""What is expected of a recipe that was not measured, and what measuring it would gain."""
