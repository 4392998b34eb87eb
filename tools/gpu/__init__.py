"""`make gpu-check`: what a GPU computes and how long it takes, built here and run where one is."""
