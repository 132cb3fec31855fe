"""Work: train, predict, evaluate, compare methods, and read a model back."""

from st_predict.tl._cross_validate import cross_validate
from st_predict.tl._evaluate import evaluate
from st_predict.tl._predict import predict
from st_predict.tl._predict_cohort import predict_cohort
from st_predict.tl._session import load_model
from st_predict.tl._train import train

__all__ = ["cross_validate", "evaluate", "load_model", "predict", "predict_cohort", "train"]
