"""Handlers of OpenVINO Model Server's Python nodes, and the graphs made of them."""
