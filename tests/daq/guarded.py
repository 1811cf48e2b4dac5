"""A scan under a watchdog, as a process to be killed.

It prints a line for each event but the meters', with the watchdog's process. If it is told to
hang, it does so in a call to the card in mid-dwell, while another thread goes on as if all were
well.
"""

import ctypes
import json
import os
import sys
import threading
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from tplm_config import load_profile
from tplm_config.toml import ANY_SCAN_PLAN
from tplm_daq.events import Event, Notice, Rates, to_json
from tplm_daq.runner import Runner
from tplm_daq.session import begin, measure, stopping_on_signals
from tplm_daq.watchdog import Watchdog
from tplm_drivers import connect


class HangingCard:
    """A card whose library does not return once it has been told so."""

    def __init__(self, card: Any, how: str) -> None:
        self._card = card
        self._how = how
        self.hangs = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._card, name)

    def count_rate_hz(self) -> Any:
        if self.hangs:
            print(json.dumps({"hangs": time.monotonic()}), flush=True)
            if self._how == "interpreter":
                ctypes.PyDLL(None).pause()  # with the interpreter's lock: no thread runs any more
            os.read(os.pipe()[0], 1)
        return self._card.count_rate_hz()


def linger() -> None:
    """Outlive the engine, with a copy of all it holds open."""
    for number in (1, 2):
        os.close(number)
    engine = os.getppid()
    while os.getppid() == engine:
        time.sleep(0.05)
    time.sleep(3.0)
    os._exit(0)


def run(told: dict[str, Any], out: Connection, err: Connection) -> None:
    """Measure as told, with these for standard output and standard error."""
    for pipe, stream in ((out, sys.stdout), (err, sys.stderr)):
        os.dup2(pipe.fileno(), stream.fileno())
        pipe.close()
    plan = ANY_SCAN_PLAN.validate_python(told["plan"])
    profile = load_profile("simulated", told["overrides"])
    with connect(load_profile("simulated")) as unwatched:
        unwatched.card.count_rate_hz()  # a simulation loads its compiled parts when it is asked
    runner = Runner()
    with (
        stopping_on_signals(runner),
        Watchdog(profile, told["out"], runner.emit) as dog,
        connect(profile) as real,
        begin(real, plan, told["out"]) as writer,
    ):
        card = HangingCard(real.card, told.get("hang", ""))
        instrument = replace(real, card=card)

        def show(event: Event) -> None:
            if isinstance(event, Rates):
                card.hangs = "hang" in told
            else:
                print(json.dumps({**to_json(event), "dog": dog.pid}), flush=True)

        def go_on() -> None:
            while True:
                dog(Notice("info", "other", "another thread lives"))
                time.sleep(0.05)

        threading.Thread(target=go_on, daemon=True).start()
        if told.get("pause"):
            runner.pause()
        if told.get("fork") and os.fork() == 0:
            linger()
        dog.watch(runner, plan)
        measure(runner, instrument, writer, [show])
