"""Image encoders: a tile in, a feature vector out. One file a family and one registry line an encoder."""
