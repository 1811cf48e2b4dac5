"""Sweeps and reproduced figures: the same results wherever they are calculated."""

import ast
import csv
import dataclasses
import importlib
import inspect
import json
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from tplm_config import InputError
from tplm_daq.cli import main
from tplm_daq.studies import Cache, Task, compute, executors, load_sweep, make_task, run_task
from tplm_daq.studies.reproduce import STUDIES, disorder, enaqt, memory
from tplm_daq.studies.tasks import KINDS

ROOT = Path(__file__).parents[2]
MEMORY = {"rows": 60, "columns": 60, "pulses": 3, "burn_in": 2, "replicas": 2}
PLAN = """
model = "memory"
seed = 3
[axes]
alpha = [0.1, 0.3]
pulse_interval_us = [1, 2.0]
[fixed]
rows = 60
columns = 60
pulses = 3
burn_in = 2
replicas = 2
"""


def few() -> list[Task]:
    """One small task of each kind, and a second memory."""
    return [
        make_task("memory", MEMORY, seed=1),
        make_task("memory", MEMORY | {"alpha": 0.5}, seed=1),
        make_task("bright-dark", {"repeats": 20, "steps": 10}, seed=1),
        make_task("quantum", {"sites": 12, "realisations": 2, "t_max": 1.0}, seed=1),
        make_task("quantum-limit", {"sites": 12, "realisations": 2, "dephasings": (0.3, 1.0)}),
        make_task("validation", {"maps": 1, "method": "global", "fit_half_range_um": 0.5}),
    ]


def spelt(results: list[dict[str, Any]]) -> list[str]:
    """All digits: equal texts are equal bits."""
    return [json.dumps(one, sort_keys=True) for one in results]


def test_the_order_and_the_number_of_workers_change_nothing(tmp_path: Path) -> None:
    tasks = few()
    serial = spelt(compute(tasks, workers=1))
    mixed = list(range(len(tasks)))
    random.Random(5).shuffle(mixed)
    cache = Cache(tmp_path)
    parallel = spelt(compute([tasks[k] for k in mixed], workers=2, cache=cache))
    assert [parallel[mixed.index(k)] for k in range(len(tasks))] == serial
    kept = spelt([cache.get(task) or {} for task in tasks])
    assert kept == serial


@pytest.mark.full
def test_a_cluster_of_two_workers_gives_the_same_bits(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    tasks = few()
    serial = spelt(compute(tasks, workers=1))
    with warnings.catch_warnings():
        # its own sockets and event loops, left to the collector
        warnings.simplefilter("ignore", ResourceWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        with distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1",
            dashboard_address=None, local_directory=str(tmp_path),
        ) as nodes:  # fmt: skip
            seen: list[tuple[int, int]] = []
            found = compute(
                tasks, scheduler=nodes.scheduler_address, progress=lambda *at: seen.append(at)
            )
            assert len(nodes.workers) == 2
            broken = dataclasses.replace(tasks[0], values=(("alpha", 7.0),))
            with pytest.raises(KeyError):
                compute([broken], scheduler=nodes.scheduler_address)
    assert spelt(found) == serial
    assert seen == [(k, len(tasks)) for k in range(len(tasks) + 1)]


def test_a_scheduler_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(executors, "CONNECT_S", 0.3)
    with (
        pytest.raises(InputError, match="no scheduler answers at 'tcp://127.0.0.1:1'"),
        executors.cluster("tcp://127.0.0.1:1"),
    ):
        pass


@pytest.mark.parametrize("address", ["nonsense", "tcp://", "tcp://host", "host:", "a b:1", ""])
def test_what_is_no_address_is_refused_at_once(address: str) -> None:
    pytest.importorskip("distributed")
    with (
        pytest.raises(InputError, match="is no address of a scheduler; tcp://host:port"),
        executors.cluster(address),
    ):
        pass


@pytest.mark.parametrize("workers", [1, 2])
def test_what_only_the_calculation_refuses_is_said_in_a_sentence(workers: int) -> None:
    tasks = [make_task("memory", {"rows": 100_000, "pulses": k}) for k in (1, 2)]
    with pytest.raises(InputError, match=r"memory with pulses = \d, rows = 100000: 16 replicas of"):
        compute(tasks, workers=workers)


def test_too_little_memory_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("tplm_daq.studies.running.run_task", too_large)
    with pytest.raises(InputError, match="memory with its defaults: there is not enough memory"):
        compute([make_task("memory")], workers=1)


def test_a_disk_that_takes_nothing_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "kept"
    with pytest.raises(OSError, match=r"kept: no result can be kept \("):
        Cache(folder).put(make_task("memory"), {})
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN)
    command = ["simulate", "sweep", str(plan), "--out", str(tmp_path), "--cache", str(folder)]
    assert main(command) == 2
    assert "kept: this folder cannot be made (" in capsys.readouterr().err


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(InputError, match=r"distributed is not installed; pip install 'tplm-daq\["),
        executors.cluster("tcp://127.0.0.1:1"),
    ):
        pass


def test_what_is_kept_is_not_calculated_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = few()[:3]
    cache = Cache(tmp_path / "kept")
    first = compute(tasks, workers=1, cache=cache)
    cache.path(tasks[1]).write_text('{"result": 3}')
    calculated: list[Task] = []

    def noted(task: Task, code: str) -> dict[str, Any]:
        calculated.append(task)
        return run_task(task, code)

    monkeypatch.setattr("tplm_daq.studies.running.run_task", noted)
    seen: list[tuple[int, int]] = []
    again = compute(tasks, workers=1, cache=cache, progress=lambda *at: seen.append(at))
    assert again == first
    assert calculated == [tasks[1]]  # the damaged one
    assert seen == [(2, 3), (3, 3)]


def test_equal_tasks_are_calculated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    count = []
    monkeypatch.setattr(
        "tplm_daq.studies.running.run_task", lambda task, code: count.append(task) or {"n": 1}
    )
    task = make_task("memory", MEMORY)
    assert compute([task, task], workers=1) == [{"n": 1}, {"n": 1}]
    assert len(count) == 1


def test_what_ends_it_early_leaves_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = few()[:3]

    def interrupted(task: Task, code: str) -> dict[str, Any]:
        if task == tasks[2]:
            raise KeyboardInterrupt
        return run_task(task, code)

    monkeypatch.setattr("tplm_daq.studies.running.run_task", interrupted)
    cache = Cache(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        compute(tasks, workers=1, cache=cache)
    assert [cache.get(task) is not None for task in tasks] == [True, True, False]


@pytest.mark.full
@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_stops_within_a_moment(tmp_path: Path) -> None:
    plan, kept = tmp_path / "plan.toml", tmp_path / "kept"
    axes = PLAN.replace("replicas = 2\n", "").replace("[fixed]", "replicas = [2, 64, 128]\n[fixed]")
    plan.write_text(axes.replace("pulses = 3", "pulses = 1000"))
    command = [sys.executable, "-m", "tplm_daq", "simulate", "sweep", str(plan), "--workers", "2"]
    command += ["--cache", str(kept), "--out", str(tmp_path / "out")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as run:
        until = time.monotonic() + 120
        while not list(kept.glob("*.json")) and run.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        done = len(list(kept.glob("*.json")))
        assert done and run.poll() is None
        asked = time.monotonic()
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does: every process gets it
        _, err = run.communicate(timeout=60)
        took = time.monotonic() - asked
    assert run.returncode == 3
    assert took < 5
    assert "are kept; the same command goes on from there" in err
    assert "Traceback" not in err
    assert len(list(kept.glob("*.json"))) >= done


def test_seeds_follow_from_the_values() -> None:
    one = make_task("memory", MEMORY, seed=1)
    other = make_task("memory", MEMORY | {"alpha": 0.2}, seed=1)
    assert one == make_task("memory", dict(reversed(MEMORY.items())), seed=1)
    assert one.random_seed == make_task("memory", MEMORY | {"alpha": 0.08}, seed=1).random_seed
    seeds = {one.random_seed, other.random_seed, make_task("memory", MEMORY, seed=2).random_seed}
    assert len(seeds) == 3
    assert make_task("memory", {"relaxation_us": 8}) == make_task("memory", {"relaxation_us": 8.0})
    assert len({task.key for task in few()}) == len(few())


def test_a_worker_with_other_code_is_refused() -> None:
    with pytest.raises(RuntimeError, match="another version"):
        run_task(few()[0], "0" * 64)


def test_every_kind_names_the_code_that_does_it() -> None:
    for name in KINDS:
        empty = Task(name, (), 0).code
        assert len(empty) == 64
        assert empty != "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


PLUMBING = {"tplm_analysis.results", "tplm_simulators._jit"}
"""What brings a result about, but not its numbers."""


@pytest.mark.parametrize("name", ["memory", "bright-dark", "quantum"])
def test_the_code_of_a_kind_is_all_that_its_numbers_follow_from(name: str) -> None:
    named = {f"{package}.{beginning}" for package, beginning in KINDS[name].code}
    imported = set()
    for module in named:
        source = inspect.getsource(importlib.import_module(module))
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("tplm_"):
                inside = {f"{node.module}.{one.name}" for one in node.names}
                imported |= inside & set(sys.modules) or {str(node.module)}
    assert imported - PLUMBING <= named


def test_a_plan_is_the_product_of_its_axes(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(PLAN)
    plan = load_sweep(path)
    assert plan.axes == (("alpha", (0.1, 0.3)), ("pulse_interval_us", (1.0, 2.0)))
    places = [
        (dict(one.values)["alpha"], dict(one.values)["pulse_interval_us"]) for one in plan.tasks
    ]
    assert places == [(0.1, 1.0), (0.1, 2.0), (0.3, 1.0), (0.3, 2.0)]
    assert {dict(one.values)["rows"] for one in plan.tasks} == {60}


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('"memory"', '"diffusion"', "model: found 'diffusion'; allowed: memory"),
        ('"memory"', '"quantum-limit"', "allowed: memory, bright-dark, quantum"),
        ("seed = 3", "seed = -3", "seed: found -3; a whole number"),
        ("seed = 3", "seeds = 3", "seeds: unknown key; did you mean 'seed'?"),
        ("alpha =", "alhpa =", r"axes.alhpa: unknown parameter; did you mean 'alpha'\?"),
        ("rows = 60", "row = 60", r"fixed.row: unknown parameter; did you mean 'rows'\?"),
        ("[0.1, 0.3]", "0.1", "axes.alpha: found 0.1; a list"),
        ("[0.1, 0.3]", "[]", r"axes.alpha: found \[\]; a list"),
        ("[0.1, 0.3]", "[0.1, 3]", "at alpha = 3, pulse_interval_us = 1: alpha is a probability"),
        ("[0.1, 0.3]", '[0.1, "x"]', "alpha is a number, not 'x'"),
        ("[0.1, 0.3]", "[nan]", "alpha is a number, not nan"),
        ("pulses = 3", "pulses = 0", "pulses is a whole number of 1 or more, not 0"),
        ("pulses = 3", "pulses = true", "pulses is a whole number of 1 or more, not True"),
        ("rows = 60", "alpha = 0.1", "fixed.alpha: it is also an axis"),
        ("[axes]", "[axes", "this is no TOML"),
        ("[axes]", "axes = 1\n[other]", "other: unknown key"),
    ],
)
def test_a_plan_that_cannot_be_used(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    path = tmp_path / "plan.toml"
    assert old in PLAN
    path.write_text(PLAN.replace(old, new))
    with pytest.raises(InputError, match=sentence):
        load_sweep(path)


def test_plans_without_axes_or_with_too_many_points(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text('model = "quantum"')
    with pytest.raises(InputError, match="there is no axis"):
        load_sweep(path)
    many = ", ".join(str(k) for k in range(1, 400))
    path.write_text(f'model = "quantum"\n[axes]\ndisorder = [{many}]\ndephasing = [{many}]')
    with pytest.raises(InputError, match="159201 points; at most 100000"):
        load_sweep(path)
    with pytest.raises(InputError, match="cannot be read"):
        load_sweep(tmp_path / "none.toml")


def test_a_temperature_in_place_of_a_rate() -> None:
    warm = make_task("bright-dark", {"temperature_k": 60, "splitting_mev": 15, "repeats": 5})
    cold = make_task("bright-dark", {"repeats": 5})
    assert run_task(warm, warm.code) != run_task(cold, cold.code)
    with pytest.raises(ValueError, match="go together"):
        make_task("bright-dark", {"temperature_k": 60.0})
    with pytest.raises(ValueError, match="only one of them"):
        make_task("bright-dark", {"temperature_k": 60.0, "splitting_mev": 6.0, "gamma_db": 0.1})


def test_the_command_writes_a_table_and_all_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN)
    command = ["simulate", "sweep", str(plan), "--workers", "1", "--json"]
    command += ["--cache", str(tmp_path / "kept"), "--out", str(tmp_path / "out")]
    assert main(command) == 0
    answer = json.loads(capsys.readouterr().out)
    with Path(answer["table"]).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["alpha"], row["pulse_interval_us"]) for row in rows] == [
        ("0.1", "1.0"), ("0.1", "2.0"), ("0.3", "1.0"), ("0.3", "2.0"),
    ]  # fmt: skip
    record = json.loads(Path(answer["file"]).read_text())
    for row, point in zip(rows, record["points"], strict=True):
        assert float(row["d_cm2_per_s"]) == point["result"]["d_cm2_per_s"]
        assert len(point["result"]["msd_nm2"]) == len(point["result"]["time_ps"])
        assert "cpu_seconds" not in row


def test_the_command_reproduces_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "s1-tables", "--out", str(tmp_path), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["figures"]
    assert {one["verdict"] for one in found["comparisons"]} == {"agrees"}
    assert (tmp_path / "images/reproduce-s1-tables.png").read_bytes()[:4] == b"\x89PNG"
    page = (tmp_path / "reproduce.md").read_text(encoding="utf-8")
    assert "![S1, tables S1 and S2: excitation densities](images/reproduce-s1-tables.png)" in page
    assert main(["reproduce", "s1-9z", "--out", str(tmp_path)]) == 2
    assert "there is no figure 's1-9z'; allowed: s1-4e" in capsys.readouterr().err


def of_memory(tau_us: float, alpha_matters: float) -> list[dict[str, Any]]:
    """Results that follow an exponential, with or without a fluence of its own."""
    results = []
    for task in memory.STUDY.tasks(True):
        values: dict[str, Any] = dict(task.values)
        d = 0.01 + 0.14 * np.exp(-values["pulse_interval_us"] / values["alpha"] / tau_us)
        d *= 1 + alpha_matters * np.log2(values["alpha"] / 0.02)
        results.append(
            {
                "d_cm2_per_s": d,
                "d_stderr_cm2_per_s": 1e-4,
                "d_radial_cm2_per_s": 2 * d,
                "d_displacement_cm2_per_s": 1.2 * d,
                "exciton_steps": 1,
            }
        )
    return results


@pytest.mark.parametrize(
    ("tau_us", "alpha_matters", "verdicts"),
    [
        (6.2, 0.0, ("agrees", "agrees")),
        (9.0, 0.0, ("differs", "agrees")),
        (4.0, 0.0, ("differs", "agrees")),
        (6.0, 0.3, ("agrees", "differs")),
    ],
)
def test_verdicts_on_the_relaxation_curve(
    tau_us: float, alpha_matters: float, verdicts: tuple[str, str]
) -> None:
    results = of_memory(tau_us, alpha_matters)
    comparisons, values = memory.STUDY.compare(memory.STUDY.tasks(True), results)
    assert tuple(one.verdict for one in comparisons[:2]) == verdicts
    if alpha_matters == 0:
        assert values["tau_variance_us"][0] == pytest.approx(tau_us)
        assert values["tau_radial_us"][0] == pytest.approx(tau_us)


@pytest.mark.parametrize(("best", "verdict"), [(0.4, "differs"), (1.0, "agrees")])
def test_verdicts_on_the_best_dephasing(best: float, verdict: str) -> None:
    tasks = enaqt.STUDY.tasks(True)
    results: list[dict[str, Any]] = []
    for k, task in enumerate(tasks):
        if task.kind == "quantum-limit":
            x = np.log(np.array(enaqt.DEPHASINGS) / best)
            results.append({"d_long_time": (1.2 - 0.1 * x**2 + 0.002 * k).tolist()})
        else:
            g = dict(task.values)["dephasing"]
            assert isinstance(g, float)
            results.append({"d_max": 1.2 + (1 - g) * (g < 1), "d_max_stderr": 0.01})
    comparisons, values = enaqt.STUDY.compare(tasks, results)
    assert [one.verdict for one in comparisons] == ["agrees", verdict, "no number", "agrees"]
    assert values["best_dephasing"][0] == pytest.approx(best, rel=0.02)


def test_the_exponents_of_disorder() -> None:
    tasks = disorder.STUDY.tasks(True)
    results = []
    for task in tasks:
        delta = dict(task.values)["disorder"]
        assert isinstance(delta, float)
        t = np.linspace(0, 40, 401)
        one = {"t_d_max": 4 / delta, "d_max": 2 / delta, "time": t.tolist()}
        one |= {"msd": (2 * t / delta).tolist(), "diffusivity": [0.0], "edge_share": 0.0}
        results.append(one | {"d_max_stderr": 0.1, "d_window": 0.01, "d_window_stderr": 0.02})
    comparisons, _ = disorder.STUDY.compare(tasks, results)
    assert [one.verdict for one in comparisons] == ["agrees"] * 7
    # L₀ = √(MSD(t_max)/2), MSD(t_max) = 8/Δ²
    assert "8, 4, 2, 1, 0.667" in comparisons[4].here


def test_every_figure_has_tasks_of_its_own_name() -> None:
    for name, study in STUDIES.items():
        assert study.name == name
        for task in study.tasks(True):
            assert task == make_task(task.kind, dict(task.values), seed=task.seed)
        assert len(study.tasks(True)) <= len(study.tasks(False))


@pytest.mark.full
def test_all_figures_in_little_time(tmp_path: Path) -> None:
    command = ["reproduce", "--quick", "--workers", "2", "--out", str(tmp_path)]
    assert main([*command, "--cache", str(tmp_path / "kept")]) == 0
    assert len(list((tmp_path / "images").glob("*.png"))) == len(STUDIES)


def test_the_page_is_that_of_these_figures() -> None:
    page = (ROOT / "docs/reproduce.md").read_text(encoding="utf-8")
    for name, study in STUDIES.items():
        assert study.reading in page
        assert f"](images/reproduce-{name}.png)" in page
        assert (ROOT / f"docs/images/reproduce-{name}.png").is_file()


def test_tables_are_drawn_without_anything_calculated() -> None:
    figure = Figure()
    STUDIES["s1-tables"].draw([], [], figure)
    assert len(figure.axes) == 2
