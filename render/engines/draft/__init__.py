"""The draft engine: moves the mouths, eyes and heads of a portrait or a video on a CPU, without a model server."""
