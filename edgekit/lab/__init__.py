"""Devices to try edgekit with, and to test it on: they need nothing but a Linux machine."""
