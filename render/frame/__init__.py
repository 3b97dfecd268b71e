"""What surrounds the person in a frame: the background, the edges that a source does not fill, and transparency."""
