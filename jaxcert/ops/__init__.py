"""Pure array mathematics: no flax, no configuration."""
