"""What a wasmCloud lattice needs to know and to check: keys, claims, host data, links, archives.

Pure: functions between bytes, texts and values. Sockets, clocks and the environment belong to
whoever calls them; only `chunks` is given a connection, and only `seed_file`, `cargo` and
`launcher` touch files. Sources: the wasmbus generation of wasmCloud, hosts 0.50 to 0.82.
"""
