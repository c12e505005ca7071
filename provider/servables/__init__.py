"""Servable folders of OpenVINO Model Server, read into a plan of plain data."""
