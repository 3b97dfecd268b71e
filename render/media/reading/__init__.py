"""Opening, identifying and decoding customers' files, and what is missing in them. No resampling and no output."""
