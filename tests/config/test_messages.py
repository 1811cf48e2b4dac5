"""What a person reads when a plan or a profile is not right: file, key, found, allowed."""

import pytest

from tplm_config import InputError, LineScan, load_plan, load_profile, parse_plan

LINE = 'kind = "line"\n'
LIST = 'kind = "positions"\n'

# TOML text, the key, and the sentence after the key (or its beginning)
PLANS = [
    ("", "kind", 'the key is missing; allowed: "cross", "line", "positions", "raster"'),
    ("passes = 3", "kind", "the key is missing"),
    ('kind = "lin"', "kind", "found \"lin\"; did you mean 'line'? allowed:"),
    ("kind = 3", "kind", "found 3; allowed:"),
    ("kind = [1]", "kind", "found [1]; allowed:"),
    (
        LINE + "postions = 3",
        "postions",
        "unknown key; did you mean 'positions'? allowed here: adaptive",
    ),
    (LINE + "line = 3", "line", "unknown key; "),
    (LINE + "[backgroud]", "backgroud", "unknown key; did you mean 'background'?"),
    (
        LINE + "[card]\ntime_bin = 3",
        "card.time_bin",
        "unknown key; did you mean 'time_bin_ps'? allowed here: mode, offset_ns, range_ns, raw, ",
    ),
    (
        LINE + "power_nw = 1",
        "power_nw",
        "unknown key; did you mean 'power_nw' below [excitation]? allowed here: ",
    ),
    (
        LINE + "[card]\npasses = 3",
        "card.passes",
        "unknown key; did you mean 'passes' at the top, above every [table]? allowed here: mode",
    ),
    (LINE + '"a b" = 1', '"a b"', "unknown key; allowed here: adaptive"),
    (LINE + '"\\u001b[2J" = 1', '"\\u001b[2J"', "unknown key; "),
    (LINE + "dwell_s = true", "dwell_s", "found true; a number is needed"),
    (LINE + 'dwell_s = "1.0"', "dwell_s", 'found "1.0"; a number is needed, without quotes'),
    (LINE + 'dwell_s = "0,5"', "dwell_s", 'found "0,5"; a number is needed, as in 0.5'),
    (LINE + 'dwell_s = "short"', "dwell_s", 'found "short"; a number is needed'),
    (LINE + "dwell_s = 1979-05-27", "dwell_s", 'found "1979-05-27"; a number is needed'),
    (LINE + "dwell_s = {a = 1}", "dwell_s", 'found {"a": 1}; a number is needed'),
    (LINE + "dwell_s = 0", "dwell_s", "found 0; must be greater than 0"),
    (LINE + "dwell_s = 1e6", "dwell_s", "found 1000000.0; must be at most 86400"),
    (LINE + "dwell_s = nan", "dwell_s", "found nan; a finite number is needed"),
    (LINE + "dwell_s = -inf", "dwell_s", "found -inf; a finite number is needed"),
    (LINE + "passes = 2.5", "passes", "found 2.5; a whole number is needed"),
    (LINE + "passes = true", "passes", "found true; a whole number is needed"),
    (LINE + 'positions = "41"', "positions", 'found "41"; a whole number is needed, without'),
    (LINE + "passes = 0", "passes", "found 0; must be at least 1"),
    (LINE + "seed = 10000000000000000000", "seed", "found 10000000000000000000; must be less than"),
    (LINE + 'axis = "z"', "axis", 'found "z"; allowed: "x", "y"'),
    (
        LINE + 'order = "bidirectonal"',
        "order",
        'found "bidirectonal"; did you mean \'bidirectional\'? allowed: "one-way", ',
    ),
    (LINE + "notes = 3", "notes", "found 3; text in quotes is needed"),
    (LINE + f'operator = "{"x" * 501}"', "operator", 'found "xxx'),
    (
        LINE + "card = 25",
        "card",
        "found 25; a table is needed: a line [card] with its keys below",
    ),
    (LINE + "[[irf]]", "irf", "found [{}]; a table is needed: a line [irf] with its keys below"),
    (LINE + "background = true", "background", "found true; a table is needed"),
    (LINE + "[card]\nsync_divider = 3", "card.sync_divider", "found 3; allowed: 1, 2, 4, 8, 16"),
    (LINE + "[card]\nsync_divider = true", "card.sync_divider", "found true; a whole number is"),
    (LINE + "[card]\nsync_divider = 1.0", "card.sync_divider", "found 1.0; a whole number is"),
    (
        LINE + "[card]\nrange_ns = 1e9",
        "card",
        "range_ns = 1e+09 in bins of 25 ps gives 4e+10 bins; 2 to 65536 are allowed",
    ),
    (LINE + "[irf]", "irf.sample_x_um", "the key is missing; it has no default and must be given"),
    (
        LINE + "[irf]\nsample_x = 5",
        "irf.sample_x",
        "unknown key; did you mean 'sample_x_um'? allowed here: dwell_s, sample_x_um, sample_y_um",
    ),
    (LINE + "[background]\nwhen = 1", "background.when", 'found 1; allowed: "before", "after"'),
    (LINE + "[excitation]\npower_nw = true", "excitation.power_nw", "found true; a number is"),
    (LINE + "[reference]\nevery_visits = 0", "reference.every_visits", "found 0; must be at least"),
    (LIST, "x_um", "the key is missing; it has no default and must be given"),
    (LIST + "x_um = 1", "x_um", "found 1; a list in [brackets]: 1 to 100000 values are needed"),
    (LIST + "x_um = []", "x_um", "found []; 1 to 100000 values are needed"),
    (LIST + 'x_um = [1, "a"]', "x_um[1]", 'found "a"; a number is needed'),
    (LIST + "x_um = [0, true]", "x_um[1]", "found true; a number is needed"),
    (LIST + "x_um = [[1]]", "x_um[0]", "found [1]; a number is needed"),
    (LIST + "x_um = [0, 1e5]", "x_um[1]", "found 100000.0; must be at most 10000"),
    (LIST + "x_um = [0, 1]\ny_um = [1]", "", "y_um is 1 long and x_um 2; as many are needed"),
    (
        LINE + "passes = 100000\npositions = 100000",
        "",
        "the plan has 10000000000 visits; at most 1000000 are allowed",
    ),
    (
        LINE + 'passes = 0\ndwell_s = "x"\n[card]\nmode = 2',
        "dwell_s",
        'found "x"; a number is needed (2 more faults besides)',
    ),
    ("kind = line", "", "not valid TOML: Invalid value (at line 1, column 8)"),
    (LINE + "dwell_s = 1,5", "", "not valid TOML: "),
    (LINE + "passes = 1\npasses = 2", "", "not valid TOML: Cannot overwrite a value"),
    ("[[", "", "not valid TOML: "),
    (LINE + "passes = " + "1" * 5000, "", "not usable TOML: a number has too many digits"),
    (LINE + "x = " + "[" * 9000 + "]" * 9000, "", "not usable TOML: the values are nested too"),
    (LINE + "notes = " + "[" * 90 + "]" * 90, "notes", "found [[[[[[["),
]


def told(error: InputError, source: str) -> tuple[str, str]:
    """Key and sentence of an error that names its source and fits on one line."""
    text = str(error)
    assert "\n" not in text
    assert "\x1b" not in text
    assert len(text) < 400
    assert text.isprintable()
    start = f"{source}: {error.key}: " if error.key else f"{source}: "
    assert text.startswith(start)
    for jargon in ("nput should", "tuple", "dictionary", "instance of", "pydantic", "validation"):
        assert jargon not in text
    return error.key, text.removeprefix(start)


@pytest.mark.parametrize(("text", "key", "words"), PLANS)
def test_plans(text: str, key: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_plan(text, "p.toml")
    found_key, sentence = told(caught.value, "p.toml")
    assert found_key == key
    assert sentence.startswith(words)


PROFILES = [
    ("laser.wavelength_nm=true", "laser.wavelength_nm", "found true; a number is needed"),
    (
        "laser.driver=toy",
        "laser.driver",
        'found "toy"; a table is needed: { name = "simulated" }',
    ),
    (
        "laser.driver=superk",
        "laser.driver",
        'found "superk"; a table is needed: { name = "superk" }',
    ),
    (
        "laser.driver={name='superq'}",
        "laser.driver.name",
        "found \"superq\"; did you mean 'superk'? allowed: ",
    ),
    ("laser.driver={}", "laser.driver.name", "the key is missing; allowed: "),
    ("laser.driver={name='superk'}", "laser.driver.port", "the key is missing; it has no"),
    ("laser={}", "laser.driver", "the key is missing; it has no default and must be given"),
    ("optics=3", "optics", "found 3; a table is needed"),
    ("name=''", "name", 'found ""; it must not be empty'),
    (
        "optics={magnifcation=495, detector_size_um=50}",
        "optics.magnifcation",
        "unknown key; did you mean 'magnification'? allowed here: dark_counts_hz",
    ),
    (
        "magnification=3",
        "magnification",
        "unknown key; did you mean 'magnification' below [optics]?",
    ),
    ("detector_stage.x.sign=2", "detector_stage.x.sign", "found 2; allowed: -1, 1"),
    ("detector_stage.x.sign=true", "detector_stage.x.sign", "found true; a whole number is needed"),
    ("detector_stage.x.zero_um=nan", "detector_stage.x.zero_um", "found nan; a finite number"),
    (
        "detector_stage.x.travel_um=[]",
        "detector_stage.x.travel_um",
        "found []; 2 values are needed",
    ),
    ("detector_stage.x.travel_um=[1]", "detector_stage.x.travel_um", "found [1]; 2 values are"),
    (
        "detector_stage.x.travel_um=[1,2,3]",
        "detector_stage.x.travel_um",
        "found [1, 2, 3]; 2 value",
    ),
    ("detector_stage.x.travel_um=3", "detector_stage.x.travel_um", "found 3; a list in [brackets]"),
    ("detector_stage.x.travel_um=['a',1]", "detector_stage.x.travel_um[0]", 'found "a"; a number'),
    (
        "detector_stage.y.travel_um=[3,1]",
        "detector_stage.y.travel_um",
        "found [3, 1]; [lowest, highest] is needed",
    ),
    ("sample_stage.travel_um=[5,-5]", "sample_stage.travel_um", "found [5, -5]; [lowest, highest]"),
    ("limits.temperature_k=[300,4]", "limits.temperature_k", "found [300, 4]; [lowest, highest]"),
    ("limits.temperature_k=[-1,4]", "limits.temperature_k[0]", "found -1; must be at least 0"),
    (
        "simulation.sample.kind=bar",
        "simulation.sample.kind",
        'found "bar"; allowed: "bright-dark", "film", "memory", "quantum"',
    ),
    (
        "simulation.sample.prompt_share=2",
        "simulation.sample.prompt_share",
        "found 2; must be at mos",
    ),
    (
        "simulation.detection.stop_on_overflow=yes",
        "simulation.detection.stop_on_overflow",
        'found "yes"; true or false is needed, without quotes',
    ),
    (
        "simulation.detection.stop_on_overflow=1",
        "simulation.detection.stop_on_overflow",
        "found 1;",
    ),
    ("simulation.laser.drift_nm_per_h=[1]", "simulation.laser.drift_nm_per_h", "found [1]; 2 val"),
    (
        "simulation.laser.min_rate_hz=3e6",
        "simulation.laser",
        "start_rate_hz must lie between min_rate_hz and max_rate_hz",
    ),
]


@pytest.mark.parametrize(("override", "key", "words"), PROFILES)
def test_profiles(override: str, key: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        load_profile("simulated", [override])
    found_key, sentence = told(caught.value, "simulated")
    assert found_key == key
    assert sentence.startswith(words)


def test_a_missing_table_is_called_a_table(tmp_path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\n[limits]\n', encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_profile(path)
    key, sentence = told(caught.value, str(path))
    assert key == "optics"
    assert sentence == "the table [optics] is missing; it must be given (5 more faults besides)"


# Changes on the command line


CHANGES = [
    (["dwell_s=0.5"], LineScan(dwell_s=0.5)),
    (["dwell_s = 2"], LineScan(dwell_s=2)),
    (
        ["card.time_bin_ps=50", "card.range_ns=12.8"],
        LineScan(card={"time_bin_ps": 50, "range_ns": 12.8}),
    ),
    (["operator=Ann"], LineScan(operator="Ann")),
    (["operator='3'"], LineScan(operator="3")),
    (["notes=a = b, c"], LineScan(notes="a = b, c")),
    (["notes="], LineScan(notes="")),
    (["dwell_s=3", "dwell_s=4"], LineScan(dwell_s=4)),
    (["background.when=before"], LineScan(background={"when": "before"})),
]


@pytest.fixture
def plain(tmp_path):
    path = tmp_path / "plain.toml"
    path.write_text(LINE, encoding="utf-8")
    return path


@pytest.mark.parametrize(("overrides", "expected"), CHANGES)
def test_overrides(plain, overrides, expected) -> None:
    assert load_plan(plain, overrides) == expected


BAD_CHANGES = [
    ("dwell_s", "--set", "'dwell_s' is not key=value; for instance: --set dwell_s=0.5"),
    ("=3", "--set", "'=3' is not key=value"),
    ("card..mode=3", "--set", "'card..mode=3' is not key=value"),
    ("", "--set", "'' is not key=value"),
    ("kind.x=3", "--set", "'kind' in 'kind.x' is not a table"),
    ("dwell_s=0,5", None, 'dwell_s: found "0,5"; a number is needed, as in 0.5'),
    ("dwell_s=[1", None, 'dwell_s: found "[1"; a number is needed'),
    ("dwell_s=", None, 'dwell_s: found ""; a number is needed'),
    ("passes=" + "1" * 5000, None, 'passes: found "1111'),
    ("passes=" + "[" * 9000, None, 'passes: found "[[[['),
    ("card.mod=t3", None, "card.mod: unknown key; did you mean 'mode'?"),
]


@pytest.mark.parametrize(("override", "source", "words"), BAD_CHANGES)
def test_bad_overrides(plain, override, source, words) -> None:
    with pytest.raises(InputError) as caught:
        load_plan(plain, [override])
    text = str(caught.value)
    assert text.startswith(f"{source or plain}: {words}")
    assert "\n" not in text


def test_an_error_is_one_line_whatever_it_quotes() -> None:
    error = InputError("a\nb.toml", "found\n\n two   lines", "three\tare allowed", "k")
    assert str(error) == "a b.toml: k: found two lines; three are allowed"
    assert (error.key, error.source) == ("k", "a\nb.toml")


@pytest.mark.parametrize("text", ["power_nw = 1", "power_nw = 1.0", "power_nw = 1e0"])
def test_a_whole_number_is_a_number(text: str) -> None:
    plan = parse_plan(f"{LINE}[excitation]\n{text}", "p.toml")
    assert plan.excitation.power_nw == 1.0
    assert isinstance(plan.excitation.power_nw, float)
