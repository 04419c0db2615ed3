"""How a study is begun, shown while it runs, and ended: for the command line and notebooks."""
