"""Container formats, read as bytes without a decoder: where a file is broken, cut off or joined of several files."""
