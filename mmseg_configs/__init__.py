"""MMSegmentation configs that are only their difference, and the code that they load by name."""
