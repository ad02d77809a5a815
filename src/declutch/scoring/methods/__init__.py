"""Scoring methods, one file each; ``declutch.scoring.method.METHODS`` finds them."""
