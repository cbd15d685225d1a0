"""Images: sources, the mixture plan, its two executors, augmentation on the device."""
