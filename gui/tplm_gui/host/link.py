"""The link to the host: requests and events in threads of their own, everything told in the window.

For each host there is a thread that listens, and one in which requests stand in a queue. Stop,
abort and emergency never stand in it: each has a thread and a connection of its own.
"""

import queue
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from PyQt6.QtCore import QObject, pyqtSignal

from tplm_config import InputError, InstrumentProfile, parse_profile
from tplm_gui.host.spawn import Found, Wanted, reach, start
from tplm_gui.host.wire import ANSWER_S, Lost, Silent, Wire
from tplm_gui.hub import Hub, Level, News, Reply
from tplm_gui.mailbox import Deed, Mailbox

URGENT = frozenset({"stop", "abort", "emergency"})
PULSE_S = 0.5
"""A plain run does not tell its status by itself: it is asked this often. It shows, too, that a
host has stopped answering."""
AGAIN_S = 0.5
"""Between two attempts to reach a host that does not answer."""
BEAM = "if in doubt, block the laser beam by hand"

Then = Callable[[Reply], None]
Request = tuple[str, Mapping[str, Any], Then | None]


class Link(QObject):
    """Carries requests to the host and tells the hub what the host tells; an `Asker`.

    Parameters
    ----------
    hub : Hub
        Is told; becomes this link's.
    wanted : Wanted
        Which host.
    """

    reached = pyqtSignal(object)
    """`Found`: the host that answers now."""

    def __init__(self, hub: Hub, wanted: Wanted, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.hub = hub
        self.wanted = wanted
        self.found: Found | None = None
        self._line: _Line | None = None
        self._mail = Mailbox(self)
        self._is_seeking = self._is_silent = False
        self._profile_text: str | None = None
        hub.asker = self

    def begin(self) -> None:
        """Look for a host, or have one started; the hub is told what becomes of it."""
        self._seek(lambda: reach(self.wanted), "looking for a host …")

    def begin_lesson(self, name: str, seed: int) -> None:
        """Have a station started with a lesson; the one before ends, if it is this window's."""
        lesson = Wanted(speed=self.wanted.speed, lesson=name, seed=seed)

        def begin() -> None:
            self._leave()
            self._seek(lambda: start(lesson), "a station with the lesson is being started …")

        def ended(reply: Reply) -> None:
            if reply.ok:
                begin()
            else:
                self.hub.tell("error", f"the lesson was not started: {reply.words}", "training")

        if self._line is not None and self.found is not None and self.found.is_own:
            self._line.ask(("quit", {}, ended))
        else:
            begin()

    def _seek(self, find: Callable[[], Found], link_words: str) -> None:
        if self._is_seeking:
            return
        self._is_seeking = True
        self.hub.take_link(False, link_words)

        def seek() -> None:
            try:
                found = find()
            except (InputError, OSError) as error:
                self._mail.post(partial(self._not_reached, str(error)))
            else:
                self._mail.post(partial(self.attach, found))

        threading.Thread(target=seek, name="window: seek", daemon=True).start()

    def attach(self, found: Found) -> None:
        """Belong to this host from now on."""
        self._is_seeking = False
        self._leave()
        self.found = found
        self._profile_text = None
        self._is_silent = False
        self._line = _Line(found, self._mail.post, self)

    def close(self) -> None:
        """Leave the host to itself; it goes on."""
        self._leave()
        self._mail.close()

    def _leave(self) -> None:
        if self._line is not None:
            self._line.end()
        self._line = None

    def _not_reached(self, sentence: str) -> None:
        self._is_seeking = False
        self.hub.take_link(False, "no host answers")
        self.hub.tell("error", sentence, "host", "Try again", self.begin)

    # -- requests --------------------------------------------------------------------------

    def ask(
        self, command: str, arguments: Mapping[str, Any], then: Callable[[Reply], None]
    ) -> None:
        """Send a command; ``then`` is called in the thread of the window."""
        if self._line is None:
            words = f"no host answers, so '{command}' went nowhere"
            if command in URGENT:
                words += f"; {BEAM}"
            then(Reply(ok=False, words=words))
        elif command in URGENT:
            self._line.ask_at_once((command, arguments, then))
        else:
            self._line.ask((command, arguments, then))

    # -- what the line brings, in the thread of the window ---------------------------------

    def take_answer(self, line: "_Line", answer: Mapping[str, Any], then: Then | None) -> None:
        """Take in the answer to a request."""
        if line is self._line and isinstance(answer.get("status"), dict):
            self._take_status(answer["status"])
            if self._is_silent:
                self._speaks_again(line)
        if then is not None:
            words = str(answer.get("message") or answer.get("error") or "done")
            then(Reply(ok=answer.get("ok") is True, words=words, content=answer))

    def take_subscription(self, line: "_Line", answer: Mapping[str, Any], again: bool) -> None:
        """Take in that the host tells its events now."""
        if line is not self._line:
            return
        self._take_status(answer.get("status") or {})
        if again or self._is_silent:
            self._speaks_again(line)
        else:
            self.hub.take_link(True, line.found.words)
            self.hub.tell("info", "", "host")  # whatever was said before is over
        self.reached.emit(line.found)

    def take_event(self, line: "_Line", event: dict[str, Any]) -> None:
        """Take in an event."""
        if line is not self._line:
            return
        match event.get("event"):
            case "host-closed":
                self._take_status(event.get("status") or self.hub.status)
                self.hub.happened.emit(event)
                self._closed(line)
                return
            case "status":
                self._take_status(event.get("status") or {})
            case "readings":
                self.hub.take_readings(event)
            case "light":
                self.hub.light.emit(event)
            case "notice" if event.get("level") in ("warning", "error"):
                words = str(event.get("message"))
                self.hub.news.emit(News(event["level"], words, event.get("code", "")))
            case "run-ended" if event.get("ending") == "failed" and not self._has_station:
                # a station tells it once more as a notice, and what to do; so it does of jobs
                self.hub.tell("error", f"the scan failed: {event.get('message')}", "run")
        self.hub.happened.emit(event)

    @property
    def _has_station(self) -> bool:
        return self.hub.status.get("station") is not None

    def take_profile(self, line: "_Line", profile: InstrumentProfile) -> None:
        """Take in the profile that a plain run keeps in what it writes."""
        if line is self._line:
            self.hub.take_profile(profile)

    def take_silence(self, line: "_Line") -> None:
        """Take in that the host is there and does not answer."""
        if line is self._line and not self._is_silent:
            self._is_silent = True
            self.hub.take_link(False, "the host does not answer")
            self.hub.tell(
                "error",
                f"the host (process {line.found.entry.pid}) has not answered for {ANSWER_S:g} s: "
                "it is stopped or stuck. Its watchdog blocks the laser; look whether it is "
                f"blocked, and {BEAM}. What was measured is kept. This window goes on asking.",
                "host",
            )

    def _speaks_again(self, line: "_Line") -> None:
        self._is_silent = False
        self.hub.take_link(True, line.found.words)
        self.hub.tell("info", "the host answers again; nothing was lost, it is in the log", "host")

    def take_end(self, line: "_Line") -> None:
        """Take in that the host is gone without a word."""
        if line is not self._line:
            return
        self._leave()
        self.hub.take_link(False, "the host is gone")
        is_station = self._has_station
        self.hub.tell(
            "error",
            f"the host (process {line.found.entry.pid}) has ended without a word or was killed. "
            "Every finished visit is kept in its file, and the watchdog blocks the laser; look "
            f"whether it is blocked, and {BEAM}. Then start again and resume the file.",
            "host",
            "Start again" if is_station else "Look for a run",
            self.begin,
        )

    def _closed(self, line: "_Line") -> None:
        """The host has said goodbye."""
        self._leave()
        status = self.hub.status
        self.hub.take_link(False, "the host has ended")
        if status.get("station") is not None:
            self.hub.tell("info", "the station has ended", "host", "Start again", self.begin)
            return
        name = Path(str(status.get("path", ""))).name
        words = f"the {status.get('doing', 'run')} {name} from a terminal is over"
        if status.get("ended_because"):
            words += f": {status['ended_because']}"
        level: Level = "error" if status.get("ending") == "failed" else "info"
        self.hub.tell(level, words, "host", "Look for a run", self.begin)

    def _take_status(self, status: dict[str, Any]) -> None:
        text = (status.get("station") or {}).get("profile_toml")
        if text is not None and text != self._profile_text:
            self._profile_text = text
            try:
                self.hub.take_profile(parse_profile(text, "the host's profile"))
            except InputError as error:  # a host of another version
                self.hub.tell(
                    "warning",
                    f"the profile of the host is not usable here: {error}; its run goes on: use a "
                    "window of its version",
                    "profile",
                )
        self.hub.take_status(status)


class _Line:
    """The threads that speak with one host; they touch nothing but the mailbox."""

    def __init__(self, found: Found, post: Callable[[Deed], None], link: Link) -> None:
        self.found = found
        self._post = post
        self._link = link
        self._ended = threading.Event()
        self._queue: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._listening: Wire | None = None
        self._has_profile = False
        for name, work in (("listen", self._listen), ("requests", self._work)):
            threading.Thread(target=work, name=f"window: {name}", daemon=True).start()

    def ask(self, request: Request) -> None:
        """Put a request in the queue."""
        self._queue.put(request)

    def ask_at_once(self, request: Request) -> None:
        """Send a request before all others, whatever they wait for."""
        send = partial(self._once, request)
        threading.Thread(target=send, name=f"window: {request[0]}", daemon=True).start()

    def end(self) -> None:
        """Let the threads end; does not wait for them."""
        self._ended.set()
        self._queue.put(None)
        listening = self._listening
        if listening is not None:
            listening.end()

    # -- the thread that listens -----------------------------------------------------------

    def _listen(self) -> None:
        again = False
        while not self._ended.is_set():
            try:
                wire = self._listening = Wire(self.found.entry)
            except Silent:
                self._post(partial(self._link.take_silence, self))
                self._ended.wait(AGAIN_S)
                continue
            except Lost:
                break  # nobody listens there any more
            try:
                if self._hear(wire, again):
                    return
            except Silent:
                self._post(partial(self._link.take_silence, self))
            except Lost:
                pass  # dropped, or dead; the next attempt tells which
            finally:
                wire.close()
            again = True
            self._ended.wait(AGAIN_S)
        self._post(partial(self._link.take_end, self))

    def _hear(self, wire: Wire, again: bool) -> bool:
        """Tell what comes; whether the host has said goodbye, or is not the one that was meant."""
        events = wire.events()
        answer = next(events)
        if answer.get("ok") is not True:
            raise Lost(str(answer.get("error")))
        self._post(partial(self._link.take_subscription, self, answer, again))
        for event in events:
            if self._ended.is_set():
                return True
            if "event" in event:
                self._post(partial(self._link.take_event, self, event))
            if event.get("event") == "host-closed":
                return True
        return self._ended.is_set()

    # -- the thread of the requests --------------------------------------------------------

    def _work(self) -> None:
        wire: Wire | None = None
        while not self._ended.is_set():
            try:
                request = self._queue.get(timeout=PULSE_S)
            except queue.Empty:
                request = ("status", {}, None)
            if request is None:
                break
            try:
                wire = wire or Wire(self.found.entry)
                answer = wire.request(request[0], request[1])
            except Lost as error:
                if wire is not None:
                    wire.close()
                wire = None
                self._not_answered(request, error)
                continue
            self._post(partial(self._link.take_answer, self, answer, request[2]))
            self._find_profile(answer.get("status") or {})
        if wire is not None:
            wire.close()
        with suppress(queue.Empty):
            while True:
                request = self._queue.get_nowait()
                if request is not None:
                    self._not_answered(request, Lost("the window has left this host"))

    def _once(self, request: Request) -> None:
        """One urgent request, on a connection of its own."""
        try:
            wire = Wire(self.found.entry)
        except Lost as error:
            self._not_answered(request, error)
            return
        try:
            answer = wire.request(request[0], request[1])
        except Lost as error:
            self._not_answered(request, error)
        else:
            self._post(partial(self._link.take_answer, self, answer, request[2]))
        finally:
            wire.close()

    def _not_answered(self, request: Request, error: Lost) -> None:
        command, _, then = request
        if isinstance(error, Silent):
            words = f"'{command}' was sent and not answered for {ANSWER_S:g} s"
            if then is None:
                self._post(partial(self._link.take_silence, self))
        else:
            words = f"'{command}' was not carried out, since the host is gone ({error})"
        if command in URGENT:
            words += f"; look whether the laser is blocked, and {BEAM}"
        if then is not None:
            self._post(partial(then, Reply(ok=False, words=words)))

    def _find_profile(self, status: Mapping[str, Any]) -> None:
        """A plain run does not tell its profile; what it writes has it."""
        if self._has_profile or not status or status.get("station") is not None:
            return
        profile = profile_of(status)
        if profile is not None:
            self._has_profile = True
            self._post(partial(self._link.take_profile, self, profile))


def profile_of(status: Mapping[str, Any]) -> InstrumentProfile | None:
    """Read the profile from the scan file or the series that a run writes; None: not there yet."""
    path = Path(str(status.get("path")))
    try:
        if status.get("doing") == "series":
            from tplm_daq.series import read_manifest

            return parse_profile(read_manifest(path).profile, f"{path} (its profile)")
        if not path.is_file():
            return None
        from tplm_daq.store import read_scan

        return read_scan(path).header.profile
    except (InputError, OSError):
        return None
