"""Devices and processes: the mesh, and agreement between processes."""
