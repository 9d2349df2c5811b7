"""The lockstep attack: read `loop`, `stages`, `search`, `averaging`, then `lane` and `tuning`."""
