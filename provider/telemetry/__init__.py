"""What the provider tells its operator: log lines, and later whatever else is measured."""
