"""Importance of every weight on every dimension, in one forward and backward pass."""
