"""Where media files are kept: the storages, the names of the files in them, links to them, and their removal."""
