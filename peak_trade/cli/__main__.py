"""`python -m peak_trade.cli`."""

import sys

from peak_trade.cli import main

sys.exit(main())
