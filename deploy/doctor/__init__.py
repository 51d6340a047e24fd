"""`parley doctor`: examines a deployment from an operator's place and says what to mend. It changes nothing."""
