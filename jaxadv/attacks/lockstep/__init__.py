"""The lockstep attack."""
