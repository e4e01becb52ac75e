"""Devices and processes: the mesh, and communication between processes."""
