"""Models: load one, find its weight matrices, tell it from every other."""
