"""What a frame of the video shows: its size, which part of the source, who speaks, what is behind and around them."""
