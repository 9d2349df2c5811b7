"""Attacks: images that a network misclassifies."""
