"""How fast scoring is, beside other ways of getting the same scores."""
