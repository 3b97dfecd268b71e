"""Videos: normalisation of source videos, encoding of segments, assembly of the finished video."""
