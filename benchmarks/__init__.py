"""Measurements, one module each: ``python -m benchmarks.<name>``, ``--quick`` for a smoke run."""
