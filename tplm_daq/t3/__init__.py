"""Time-tagged photons: T3 records decoded, read from files, written to files, and streamed."""

from tplm_daq.t3.decoder import T2_FORMATS, T3_FORMATS, T3Decoder, T3Format
from tplm_daq.t3.reading import PtuHistogram, read_ptu

__all__ = ["T2_FORMATS", "T3_FORMATS", "PtuHistogram", "T3Decoder", "T3Format", "read_ptu"]
