"""jaxcert: train classifiers whose predictions come with a proof, and certify them."""

__version__ = "0.1.0"
