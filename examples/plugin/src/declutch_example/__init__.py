"""One of each kind of thing that declutch takes from other packages."""
