"""Tasks: data sets, networks and the losses they are trained with."""
