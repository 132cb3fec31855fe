from ._cross_validate import cross_validate as cross_validate
from ._evaluate import evaluate as evaluate
from ._predict import predict as predict
from ._predict_cohort import predict_cohort as predict_cohort
from ._session import load_model as load_model
from ._train import train as train
