"""The web process: its server, its command line, and the view that serves local media files."""
