"""Walk-forward: windows, the choice on each, and the run of all test windows."""
