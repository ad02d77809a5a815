"""Selection rules, one file each; ``declutch.locating.request.RULES`` finds them."""
