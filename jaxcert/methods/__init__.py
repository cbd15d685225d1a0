"""One published method a file: `make(model, run, **config.method) -> Method`."""
