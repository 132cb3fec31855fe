"""Prediction methods on encoded tiles: one file and one registry line a method, shared blocks beside them."""
