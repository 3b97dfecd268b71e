"""Log lines: their format and limits, and reading the end of a log file."""
