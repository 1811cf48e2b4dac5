"""``python -m tplm_daq`` is ``tplm``."""

import sys

from tplm_daq.cli import main

if __name__ == "__main__":
    sys.exit(main())
