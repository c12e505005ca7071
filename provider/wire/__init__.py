"""What travels: pure functions between bytes and values. No I/O, no clock, no asyncio."""
