"""Tasks: data sets, autoencoders and the losses they are trained with."""
