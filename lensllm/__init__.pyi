# Written by nbs/api.ipynb for editors and type checkers; the names are those of __init__.py.
from . import choose as choose
from . import cli as cli
from . import curves as curves
from . import forecast as forecast
from . import generalization as generalization
from . import kernels as kernels
from . import models as models
from . import report as report
from . import tune as tune
from .choose.policies import plan as plan
from .choose.replay import simulate as simulate
from .choose.selectors import SELECTORS as SELECTORS
from .choose.selectors import as_selector as as_selector
from .choose.selectors import compare as compare
from .choose.selectors import rank as rank
from .curves.table import CurveSet as CurveSet
from .curves.table import benchmark_names as benchmark_names
from .curves.table import load_benchmark as load_benchmark
from .curves.table import load_curves as load_curves
from .forecast.fit import fit_law as fit_law
from .forecast.laws import LAWS as LAWS
from .generalization.bounds import certify as certify
from .kernels.ntk import ntk_gram as ntk_gram
from .report.figures import plot_compare as plot_compare
from .report.figures import plot_forecast as plot_forecast
from .report.figures import plot_predictions as plot_predictions
from .tune.callback import TellCallback as TellCallback
from .tune.study import Study as Study
from .tune.tasks import load_task as load_task

__version__: str
