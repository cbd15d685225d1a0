"""Flax modules; with `jaxcert.models` the only place that imports flax."""
