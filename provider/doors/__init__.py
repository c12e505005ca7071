"""How calls get in: each door turns its protocol into a `Call` and the answer back."""
