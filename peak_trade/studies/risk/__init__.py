"""Studies of risk: decisions, value at risk, stress and false alarms."""
