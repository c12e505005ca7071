"""The child process: runs the user's code, and imports only `wire` and `errors` of ours."""
