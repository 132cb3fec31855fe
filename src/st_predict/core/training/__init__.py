"""From sections to a trained model: inputs, batches, the fit, and the model that is kept."""
