"""A pretext method, a data set and an evaluation for sslzoo."""
