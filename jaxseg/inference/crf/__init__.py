"""The dense conditional random field of Krähenbühl and Koltun (2011), applied after a network."""
