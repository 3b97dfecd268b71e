"""Portraits: their cost, colors and normalisation to PNG."""
