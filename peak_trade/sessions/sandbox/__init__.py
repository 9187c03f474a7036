"""Trade at an exchange's sandbox."""
