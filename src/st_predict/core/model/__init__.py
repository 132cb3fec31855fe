"""The trained model: what it predicts with, what it knows of its sureness, and how it lies in a folder."""
