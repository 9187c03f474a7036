"""Values, ledger, time, errors, files and the Settings base class, shared by every layer."""
