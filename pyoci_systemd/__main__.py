"""The front door without an archive: `python3 -ISB pyoci_systemd/__main__.py`, as the launcher calls it."""

import sys

if __name__ == "__main__":
    sys.path.insert(0, __file__.rpartition("/")[0].rpartition("/")[0])
    from pyoci_systemd.main import launched

    launched()
