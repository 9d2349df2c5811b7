"""Measurements: pure functions of arrays and models."""
