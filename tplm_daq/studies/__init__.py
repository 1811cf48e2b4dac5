"""Studies: many simulations, on all cores or a cluster, and what they are compared with."""

from tplm_daq.studies.cache import Cache
from tplm_daq.studies.plan import SweepPlan, load_sweep
from tplm_daq.studies.running import compute
from tplm_daq.studies.tasks import Task, make_task, run_task

__all__ = ["Cache", "SweepPlan", "Task", "compute", "load_sweep", "make_task", "run_task"]
