"""One procedure a file: `make(network, **config.certify) -> Certifier`."""
