"""The `bench` command: how fast the model is on this machine, and whether faster variants compute the same."""
