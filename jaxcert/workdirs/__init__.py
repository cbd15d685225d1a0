"""What a workdir holds: its config, its checkpoints, the networks in them."""
