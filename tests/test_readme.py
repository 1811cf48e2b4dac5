"""What the README shows is run."""

import re
import shlex
from pathlib import Path

import pytest

from tplm_daq.cli import main

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("passes", [2, pytest.param(None, marks=pytest.mark.full)])
def test_the_script_and_the_commands(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    passes: int | None,
) -> None:
    """With fewer passes, or to the letter."""
    monkeypatch.chdir(tmp_path)
    (script,) = blocks("python")
    if passes is not None:
        assert "passes=10" in script
        script = script.replace("passes=10", f"passes={passes}")
    exec(compile(script, "README.md", "exec"), {})
    assert "D = 0.0" in capsys.readouterr().out
    commands = [line for block in blocks("sh") for line in block.splitlines()]
    assert "python3 dev.py demo" in commands
    tplm = [shlex.split(line)[1:] for line in commands if line.startswith("tplm ")]
    assert len(tplm) >= 6
    for arguments in tplm:
        if passes is not None and arguments[0] == "scan":
            arguments += ["--set", f"passes={passes}"]
        assert main(arguments) == 0, arguments


def test_every_link_leads_somewhere() -> None:
    root = Path(__file__).parents[1]
    pages = [root / "README.md", *(root / "docs").rglob("*.md")]
    links = 0
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            links += 1
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"
    assert links >= 5
