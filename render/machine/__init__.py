"""The machine that a worker runs on: its row among the nodes, its disk, its work folders, its locks."""
