"""Devices and processes: the mesh, and what several processes agree on."""
