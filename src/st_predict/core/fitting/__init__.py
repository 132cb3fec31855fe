"""From a plan and encoded sections to a model: where it runs, the inner folds, the fit and its checkpoints."""
