"""One module for each command. They are thin: the work is in other packages."""
