"""Suites: the prompts, pairs and passages that a model is evaluated on."""
