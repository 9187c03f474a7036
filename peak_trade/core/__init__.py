"""Values, ledger, time, errors and the Settings base class: what every layer shares."""
