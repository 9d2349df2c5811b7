"""The lockstep attack: `loop`, `stages`, `state`, `sqp`, `search`, `averaging`, then `tuning`."""
