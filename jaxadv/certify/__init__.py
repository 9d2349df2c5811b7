"""Proven lower bounds on the minimum distortion."""
