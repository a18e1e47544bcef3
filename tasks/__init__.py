"""The stages, one module each, and the few nouns that they share."""
