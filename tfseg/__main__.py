"""`python -m tfseg` is `tfseg`."""

import sys

from tfseg.cli import main

sys.exit(main())
