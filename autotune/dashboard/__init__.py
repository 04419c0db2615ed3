"""optuna-dashboard on a study's database, with our names, notes, plots and files."""
