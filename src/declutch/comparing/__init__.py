"""Pure comparison: statistics, results, pairs, release checks."""
