"""A dense conditional random field after the network (Krähenbühl and Koltun 2011)."""
