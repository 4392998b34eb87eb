"""`make public-models`: trained networks that others wrote and ship, compiled from the file as it is."""
