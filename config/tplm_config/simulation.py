"""Settings of the virtual microscope: the sample, the light, the card and the moving parts."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from tplm_config._model import Fraction, Model, NonNegativeFloat, PositiveFloat, PositiveInt


class FilmSettings(Model):
    """A film of nanocrystals on glass, described by formulas."""

    kind: Literal["film"] = "film"
    """Which sample model this is."""
    emission_fwhm_nm: PositiveFloat = 600.0
    """Full width at half maximum of the light on the sample at the instant of the pulse, nm."""
    emission_lorentz_hwhm_nm: NonNegativeFloat = 0.0
    """Half width of a Lorentzian that gives the light wings along each axis (a Voigt profile)."""
    prompt_share: Fraction = 0.9
    """Height of the exponential part of the decay at time zero; the power law has the rest."""
    prompt_lifetime_ns: PositiveFloat = 2.3
    """Lifetime of the exponential part, ns."""
    delayed_onset_ns: PositiveFloat = 1.0
    """Time t0 of the delayed part (1 + t/t0)^-exponent, ns."""
    delayed_exponent: Annotated[float, Field(gt=1)] = 1.5
    """Exponent of the power law; above 1, so that the number of photons is finite."""
    d_cm2_per_s: NonNegativeFloat | None = None
    """A fixed diffusivity along one axis, cm²/s; when absent, D follows from the excitation."""
    d_slow_cm2_per_s: NonNegativeFloat = 0.01
    """Diffusivity of a film at rest, cm²/s: D = slow + memory·exp(-Δt/τ), at 295 K."""
    d_memory_cm2_per_s: NonNegativeFloat = 0.14
    """What closely spaced excitations add to the diffusivity at most, cm²/s, at 295 K."""
    memory_us: PositiveFloat = 6.0
    """Time τ in which a nanocrystal forgets its last excitation, µs."""
    fastest_temperature_k: PositiveFloat = 150.0
    """Temperature of the largest diffusivity, K."""
    edge_nm: PositiveFloat = 8.3
    """Edge length of a nanocrystal, nm: sets its absorption cross-section."""
    detected_per_incident_photon: NonNegativeFloat = 8.0e-4
    """Photons that would be counted over the whole image plane for each photon on the film."""
    amplitude_contrast: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """How much the brightness varies from place to place, rms, relative."""
    amplitude_length_um: PositiveFloat = 8.0
    """Length over which the brightness varies, µm."""
    film_edge_um: float = 50.0
    """Sample-stage x beyond which there is bare glass, µm."""
    glass_scatter_per_incident_photon: NonNegativeFloat = 3.0e-4
    """Scattered laser photons counted over the image plane for each photon on bare glass."""


class _ModelledSettings(Model):
    """What samples whose light is simulated have in common."""

    emission_fwhm_nm: PositiveFloat = 600.0
    """Full width at half maximum of the light on the sample at the instant of the pulse, nm."""
    edge_nm: PositiveFloat = 8.3
    """Edge length of a nanocrystal, nm: sets its absorption cross-section."""
    spacing_nm: PositiveFloat = 10.0
    """From one nanocrystal to the next, nm."""
    detected_per_incident_photon: NonNegativeFloat = 8.0e-4
    """Photons that would be counted over the whole image plane for each photon on the sample, if
    each exciton gave one."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the simulation of the sample, apart from that of the counts."""


class _HistogramSettings(_ModelledSettings):
    """What samples have in common whose light is a histogram over places.

    What the excitons' own first places lack of the emission's width is the blur of the optics.
    """

    @property
    def start_fwhm_nm(self) -> float:
        """Full width at half maximum of the excitons' first places, nm."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _spot_blurred(self) -> Self:
        blur_nm = math.sqrt(max(self.emission_fwhm_nm**2 - self.start_fwhm_nm**2, 0.0))
        if blur_nm < 7.5 * self.spacing_nm:  # more than half a bin of the map in standard deviation
            least_nm = math.hypot(self.start_fwhm_nm, 7.5 * self.spacing_nm)
            raise ValueError(
                f"emission_fwhm_nm must be at least {least_nm:.0f} nm: the excitons begin within "
                f"{self.start_fwhm_nm:.0f} nm, and the optics blur them"
            )
        return self


class MemorySettings(_HistogramSettings):
    """A film whose nanocrystals remember their excitons for a while (S1, supplementary note 2).

    The pulse excites the site in the middle with the probability 1 - exp(-⟨N⟩), at the laser's
    repetition rate.
    """

    kind: Literal["memory"] = "memory"
    """Which sample model this is."""
    spot_fwhm_nm: PositiveFloat = 250.0
    """Full width at half maximum of the places where excitons begin, nm."""
    hop_fast: Fraction = 0.7
    """Probability in 1 ps to hop to a neighbour that remembers an exciton, if it is tried."""
    hop_slow: Fraction = 0.006
    """The same for one that does not."""
    lifetime_ps: Annotated[float, Field(ge=10, le=50_000)] = 2500.0
    """Mean lifetime of an exciton, ps."""
    relaxation_us: PositiveFloat = 8.1
    """Mean time in which a nanocrystal forgets, µs."""
    lattice: Literal["square", "square-second", "hexagonal"] = "square"
    """How the nanocrystals are arranged."""
    disorder_mev: Annotated[float, Field(ge=0, le=1000)] = 0.0
    """Standard deviation of their energies, meV; with it the temperature counts."""
    annihilation: Fraction = 0.0
    """Probability that an exciton which meets another one is gone without light."""
    sites: Annotated[int, Field(ge=51, le=2001)] = 401
    """Nanocrystals along each axis; beyond them there is nothing."""
    replicas: Annotated[int, Field(ge=2, le=64)] = 4
    """Films simulated side by side; the standard error of D comes from their scatter."""
    excitons: Annotated[int, Field(ge=1000, le=1_000_000_000)] = 300_000
    """Simulated excitons: they decide how smooth the light is, and how long it takes."""

    @property
    def start_fwhm_nm(self) -> float:
        """Full width at half maximum of the excitons' first places, nm."""
        return self.spot_fwhm_nm

    @model_validator(mode="after")
    def _hops_in_order(self) -> Self:
        if self.hop_slow > self.hop_fast:
            raise ValueError("hop_slow must not be above hop_fast")
        return self


class BrightDarkSettings(_HistogramSettings):
    """Excitons that hop while they are bright, go dark and may come back (S2).

    Rates are probabilities in a step of 25 ps.
    """

    kind: Literal["bright-dark"] = "bright-dark"
    """Which sample model this is."""
    sigma_sites: NonNegativeFloat = 10.0
    """Standard deviation of the places where excitons begin, in nanocrystals."""
    gamma_fret: Fraction = 0.09
    """Transfer of a bright exciton to one nearest neighbour."""
    gamma_bright: Fraction = 0.03
    """Light from a bright exciton."""
    gamma_dark: Fraction = 0.0003
    """Light from a dark one."""
    gamma_bd: Fraction = 0.15
    """From bright to dark."""
    gamma_db: Fraction | None = None
    """From dark to bright; when absent, 3·gamma_bd·exp(-splitting / k_B T) at the temperature."""
    splitting_mev: NonNegativeFloat = 6.0
    """Bright above dark, meV: 15, 6 and 3 for edges of 5, 8 and 14 nm."""
    trap_rate: Fraction = 0.0
    """From bright into a trap, which gives 1/100 of the light."""
    dissociation: Fraction = 0.0
    """Into carriers that give no light."""
    bright_fraction: Fraction = 0.5
    """Share of excitons that begin bright; the others are dark."""
    steps: Annotated[int, Field(ge=40, le=2000)] = 1000
    """Steps of 25 ps after which there is no light any more."""
    excitons: Annotated[int, Field(ge=1000, le=1_000_000_000)] = 10_000_000
    """Simulated excitons: they decide how smooth the light is, and how long it takes."""

    @property
    def start_fwhm_nm(self) -> float:
        """Full width at half maximum of the excitons' first places, nm."""
        return 2 * math.sqrt(2 * math.log(2)) * self.sigma_sites * self.spacing_nm

    @model_validator(mode="after")
    def _at_most_one_event(self) -> Self:
        bright = self.gamma_bright + self.gamma_bd + self.trap_rate + 4.5 * self.gamma_fret
        dark = self.gamma_dark + (3 * self.gamma_bd if self.gamma_db is None else self.gamma_db)
        for name, total in (("bright", bright), ("dark", dark)):
            if total + self.dissociation > 1:
                raise ValueError(
                    f"the probabilities of a {name} exciton add up to "
                    f"{total + self.dissociation:.3g} in a step, hops (4.5·gamma_fret) included; "
                    "at most 1 is possible"
                )
        return self


class QuantumSettings(_ModelledSettings):
    """Chains of coupled nanocrystals along x, on which excitons are waves that dephase (S3).

    The widening is that of the Haken–Strobl–Reineker model, D = D(Δ/J, Γ/J)·J a²/ħ along x and none
    along y. 30 meV and 10 nm make 45.6 cm²/s of J a²/ħ; with the other defaults D is about
    0.5 cm²/s, so that the spot stays in the field of view while there is light.
    """

    kind: Literal["quantum"] = "quantum"
    """Which sample model this is."""
    sites: Annotated[int, Field(ge=10, le=200)] = 40
    """Nanocrystals of the simulated ring."""
    disorder: Annotated[float, Field(ge=0, le=100)] = 3.0
    """Standard deviation Δ of their energies, in units of the coupling J."""
    dephasing: Annotated[float, Field(ge=0, le=1000)] = 0.03
    """Rate Γ at which coherences decay, in units of J/ħ. 0: localised by the disorder."""
    coupling_mev: PositiveFloat = 30.0
    """Coupling J of neighbours, meV; S3's dipolar couplings are 20 to 40 meV."""
    lifetime_ns: PositiveFloat = 2.5
    """Mean lifetime of an exciton, ns."""
    realisations: Annotated[int, Field(ge=2, le=10_000)] = 40
    """Of the disorder; the standard error of D comes from their scatter."""

    @model_validator(mode="after")
    def _not_ballistic_for_ever(self) -> Self:
        if self.dephasing == 0 and self.disorder < 1:
            raise ValueError(
                "without dephasing, disorder must be at least 1: less of it does not localise an "
                "exciton within the simulated ring"
            )
        return self


def _a_film_by_default(value: Any) -> Any:
    return {"kind": "film", **value} if isinstance(value, dict) else value


SampleSettings = Annotated[
    FilmSettings | MemorySettings | BrightDarkSettings | QuantumSettings,
    Field(discriminator="kind"),
    BeforeValidator(_a_film_by_default),
]
"""Any sample; without `kind` it is a film."""


class LaserSettings(Model):
    """The pulsed laser."""

    full_scale_nw: PositiveFloat = 100.0
    """Average power leaving the laser at power fraction 1, whatever the repetition rate, nW."""
    min_rate_hz: PositiveFloat = 0.1e6
    """Lowest repetition rate, Hz."""
    max_rate_hz: PositiveFloat = 40.0e6
    """Highest repetition rate, Hz."""
    start_rate_hz: PositiveFloat = 2.5e6
    """Repetition rate when switched on, Hz."""
    noise_rms: Annotated[float, Field(ge=0, le=0.2)] = 0.005
    """Slow power noise, rms, relative."""
    drift_nm_per_h: tuple[float, float] = (0.0, 0.0)
    """Drift of the spot on the sample along x and y, nm per hour."""

    @model_validator(mode="after")
    def _rates_in_order(self) -> "LaserSettings":
        if not self.min_rate_hz <= self.start_rate_hz <= self.max_rate_hz:
            raise ValueError("start_rate_hz must lie between min_rate_hz and max_rate_hz")
        return self


class AttenuatorSettings(Model):
    """The motorised neutral-density wheel in the excitation path."""

    min_transmission: Annotated[float, Field(gt=0, lt=1)] = 1.0e-4
    """Transmission of the darkest place of the wheel."""
    start_transmission: Annotated[float, Field(gt=0, le=1)] = 0.01
    """Transmission when switched on."""
    density_per_s: PositiveFloat = 2.0
    """Speed of the wheel, optical density per second."""

    @model_validator(mode="after")
    def _start_on_the_wheel(self) -> "AttenuatorSettings":
        if self.start_transmission < self.min_transmission:
            raise ValueError("start_transmission must not be below min_transmission")
        return self


class ShutterSettings(Model):
    """The shutter before the sample."""

    travel_s: NonNegativeFloat = 0.004
    """Time from the command until the light passes or is blocked, s."""


class PowerMeterSettings(Model):
    """The power meter behind the beam sampler, after the attenuator and before the shutter."""

    zero_offset_nw: float = 0.01
    """What it reads in the dark, nW."""
    noise_nw: NonNegativeFloat = 0.002
    """Noise of one reading, rms, nW."""
    noise_rms: NonNegativeFloat = 0.001
    """Noise of one reading in proportion to the power, rms."""


class DetectionSettings(Model):
    """The detector and the timing card."""

    response_fwhm_ps: PositiveFloat = 80.0
    """Full width at half maximum of the Gaussian part of the response, ps."""
    response_tail_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the photons in the exponential tail of the response."""
    response_tail_ps: Annotated[float, Field(gt=0, le=1000)] = 200.0
    """Time constant of the tail, ps."""
    time_zero_ps: NonNegativeFloat = 2000.0
    """Delay of the light after its sync pulse, ps."""
    dead_time_ns: NonNegativeFloat = 80.0
    """Time after a count in which no other is registered, ns."""
    ambient_rate_hz: NonNegativeFloat = 50.0
    """Counts by room light, with the shutter open or closed, Hz."""
    laser_background_hz_per_nw: NonNegativeFloat = 20.0
    """Constant background caused by the laser, Hz for each nW (nominal) through the shutter."""
    base_resolution_ps: Annotated[float, Field(ge=1, le=250)] = 25.0
    """Narrowest time bin of the card, ps."""
    max_bins: PositiveInt = 32768
    """Largest number of time bins."""
    max_sync_rate_hz: PositiveFloat = 40.0e6
    """Highest sync rate behind the divider, Hz."""
    max_count_rate_hz: PositiveFloat = 5.0e6
    """Count rate above which the card raises its flag, Hz."""
    counter_max: Annotated[int, Field(ge=1, le=2**32 - 1)] = 2**32 - 1
    """Largest number of counts in one bin."""
    stop_on_overflow: bool = True
    """Whether a full bin ends the measurement."""
    fifo_records: Annotated[int, Field(ge=1024)] = 2**21
    """T3 records that wait to be read; further ones are lost."""


class StageSettings(Model):
    """A motorised stage; all its axes are alike."""

    lower_limit_um: float = -12500.0
    """Lower end of the travel, µm."""
    upper_limit_um: float = 12500.0
    """Upper end of the travel, µm."""
    speed_um_per_s: PositiveFloat = 2000.0
    """Largest speed, µm/s."""
    acceleration_um_per_s2: PositiveFloat = 20000.0
    """Acceleration, µm/s²."""
    repeatability_um: NonNegativeFloat = 0.5
    """Error of where it really arrives, rms, µm; the reported position does not show it."""
    trigger_um: NonNegativeFloat = 0.0
    """Distance between the places where a moving axis gives a pulse, µm; 0 = none."""
    trigger_zero_um: float = 0.0
    """One of these places, µm."""

    @model_validator(mode="after")
    def _limits_enclose_the_start(self) -> "StageSettings":
        if not self.lower_limit_um <= 0.0 <= self.upper_limit_um:
            raise ValueError("the limits must enclose 0, where the stage starts")
        return self


class ThermostatSettings(Model):
    """The cryostat with its temperature controller."""

    base_temperature_k: PositiveFloat = 7.0
    """Lowest temperature, K; where the sample goes when the heater fails."""
    max_temperature_k: PositiveFloat = 320.0
    """Highest set point, K."""
    start_temperature_k: PositiveFloat = 295.0
    """Temperature and set point when switched on, K."""
    ramp_k_per_min: PositiveFloat = 10.0
    """Ramp rate of the set point when switched on, K/min."""
    lag_s: PositiveFloat = 20.0
    """Time constant with which the sample follows the ramp, s."""
    cooling_s: PositiveFloat = 900.0
    """Time constant of cooling to the base temperature without a heater, s."""
    noise_k: NonNegativeFloat = 0.005
    """Noise of one reading, rms, K."""

    @model_validator(mode="after")
    def _temperatures_in_order(self) -> "ThermostatSettings":
        if not self.base_temperature_k <= self.start_temperature_k <= self.max_temperature_k:
            raise ValueError("start_temperature_k must lie between base and maximum")
        return self


class SimulationSettings(Model):
    """Everything the virtual microscope needs beyond the optics of the profile."""

    seed: Annotated[int, Field(ge=0)] = 1
    """Seed of all random numbers: same seed and same calls give the same counts."""
    speed: PositiveFloat | None = None
    """Simulated seconds per second; absent = as fast as the machine allows."""
    sample: SampleSettings = FilmSettings()
    """The sample: kind = "film", "memory", "bright-dark" or "quantum"."""
    laser: LaserSettings = LaserSettings()
    """The laser."""
    attenuator: AttenuatorSettings = AttenuatorSettings()
    """The neutral-density wheel."""
    detection_attenuator: AttenuatorSettings = AttenuatorSettings(start_transmission=1.0)
    """The neutral-density wheel in front of the detector."""
    shutter: ShutterSettings = ShutterSettings()
    """The shutter."""
    power_meter: PowerMeterSettings = PowerMeterSettings()
    """The power meter."""
    detection: DetectionSettings = DetectionSettings()
    """The detector and the timing card."""
    detector_stage: StageSettings = StageSettings()
    """The stage that carries the detector through the image plane."""
    sample_stage: StageSettings = StageSettings(
        lower_limit_um=-2500.0,
        upper_limit_um=2500.0,
        speed_um_per_s=200.0,
        acceleration_um_per_s2=2000.0,
        repeatability_um=0.01,
    )
    """The stage that carries the sample."""
    focus_depth_um: PositiveFloat = 0.8
    """Defocus z at which the variance of the spot has doubled, µm."""
    focus_z_um: float = 0.0
    """Sample-stage z at which the spot is in focus, µm."""
    spot_image_um: tuple[float, float] | None = None
    """Detector-stage reading at which it really looks at the spot, µm; absent = where the
    profile's ``zero_um`` says."""
    thermostat: ThermostatSettings = ThermostatSettings()
    """The cryostat."""
