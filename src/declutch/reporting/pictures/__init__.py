"""The pictures of the report, one file each; ``declutch.reporting.picture.PICTURES`` finds them."""
