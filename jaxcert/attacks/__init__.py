"""Attacks: upper bounds on the radius that no certificate may exceed."""
