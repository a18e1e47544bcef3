"""Configs for MMSegmentation that are only their difference, and the code that they load by name."""
