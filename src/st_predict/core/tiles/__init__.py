"""Tiles around spots: which box (geometry) and which pixels (stream); never a network."""
