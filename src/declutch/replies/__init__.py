"""Replies: what makes them, what was said, and the store that keeps them."""
