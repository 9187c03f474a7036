"""The run registry, on MLflow."""
