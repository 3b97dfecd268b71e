"""The whole service on one machine, for `make demo` and `make dev`; not for production."""
