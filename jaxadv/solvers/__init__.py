"""Box-constrained minimisers."""
