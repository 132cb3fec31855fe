"""The arithmetic of st-predict on plain arrays: numpy, scipy and torch only; knows no SpatialData and no public room."""
