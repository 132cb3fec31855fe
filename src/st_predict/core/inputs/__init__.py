"""What a fit and a prediction are fed: tiles and features of sections, batches of spots, nothing of how they are used."""
