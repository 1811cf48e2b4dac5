"""Commands that simulate the memory of a film."""

from collections.abc import Callable
from typing import Any

import click

from tplm_config import InputError
from tplm_daq.cli.bar import progress_bar
from tplm_daq.cli.options import F, Number, json_option
from tplm_daq.cli.output import answer
from tplm_simulators.samples.memory import LATTICES, MemoryModel, simulate_memory

PAPER = MemoryModel()

Kind = click.IntRange | click.FloatRange | click.Choice[str]


def _from_paper(name: str, kind: Kind, help_text: str) -> Callable[[F], F]:
    """Return the option of a parameter of the model, by default as published."""
    default = getattr(PAPER, name)
    return click.option(
        "--" + name.replace("_", "-"), type=kind, default=default, show_default=True, help=help_text
    )


@click.command()
@_from_paper("alpha", Number(0, 1), "Share of the sites excited in the middle of the spot.")
@_from_paper("pulse_interval_us", Number(0, 1e9), "From pulse to pulse.")
@click.option("--pulses", type=click.IntRange(1), default=1000, show_default=True)
@click.option(
    "--burn-in", type=click.IntRange(0), default=1000, show_default=True,
    help="Pulses before those that count.",
)  # fmt: skip
@click.option(
    "--replicas", type=click.IntRange(1), default=16, show_default=True,
    help="Independent films; standard errors need two.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@_from_paper("hop_fast", Number(0, 1), "Probability per ps to hop to a fast site that is tried.")
@_from_paper("hop_slow", Number(0, 1), "The same for a slow one.")
@_from_paper("lifetime_ps", Number(1, 1e7), "Of an exciton.")
@_from_paper("relaxation_us", Number(0), "Until a fast site is slow again.")
@_from_paper("lattice", click.Choice(list(LATTICES)), "How the sites are arranged.")
@_from_paper("rows", click.IntRange(1), "Of sites.")
@_from_paper("columns", click.IntRange(1), "Of sites.")
@_from_paper("layers", click.IntRange(1), "Of a cubic lattice.")
@_from_paper("disorder_mev", Number(0, 1e4), "Standard deviation of the sites' energies.")
@_from_paper("temperature_k", Number(0, 1e4), "With disorder.")
@_from_paper("annihilation", Number(0, 1), "Probability that two excitons that meet become one.")
@json_option
def memory(
    pulses: int, burn_in: int, replicas: int, seed: int, as_json: bool, **parameters: Any
) -> None:
    """Excitons on a film that remembers where excitons have been (S1)."""
    try:
        model = MemoryModel(**parameters)
        with progress_bar("pulses") as progress:
            found = simulate_memory(
                model, pulses=pulses, burn_in=burn_in, replicas=replicas, seed=seed,
                progress=progress,
            )  # fmt: skip
    except ValueError as error:
        raise InputError("tplm simulate memory", str(error)) from None
    except MemoryError:
        raise InputError(
            "tplm simulate memory",
            "there is not enough memory",
            "fewer --rows, --columns, --layers or --replicas take less",
        ) from None
    answer(found.to_dict(), str(found), as_json)
