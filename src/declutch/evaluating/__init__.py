"""An evaluation from what is asked to results on disk, and two of them side by side."""
