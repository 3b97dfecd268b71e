"""The transformer and its parts, and the sizes of all networks. Nothing about files of weights."""
