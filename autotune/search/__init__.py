"""Chooses recipes: the ask-measure-tell loop, the pool, samplers, constraints, budget."""
