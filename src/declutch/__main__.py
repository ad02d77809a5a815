"""``python -m declutch`` (and ``torchrun -m declutch``)."""

from declutch.cli import main

if __name__ == "__main__":
    main()
