"""Study risk limits: measures, explanations and false alarms."""
