"""A run seen from outside while it goes on, by the files it has written so far, and a page of it on this machine."""
