"""The parent process: owns the doors and the workers, and never runs user code."""
