"""Networks as pure functions of plain-dict parameters."""
