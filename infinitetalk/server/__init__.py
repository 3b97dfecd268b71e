"""The model server: one process per GPU that keeps the model loaded and renders jobs of the service's workers."""
