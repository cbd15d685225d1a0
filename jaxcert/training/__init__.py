"""The one training loop and what it needs; it knows no method and no model by name."""
