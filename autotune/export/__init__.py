"""One recipe of a study as a directory that runs anywhere: written, loaded, verified."""
