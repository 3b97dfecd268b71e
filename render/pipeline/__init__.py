"""The way of a claimed render, from the customer's files to the stored video. `render.queue` says which is claimed."""
