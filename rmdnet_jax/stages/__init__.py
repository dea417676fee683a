"""The stages of a run, one file each; experiment.py puts them together."""
