"""The way of a claimed render: from the customer's files to the stored video. Which render is claimed: `render.queue`."""
