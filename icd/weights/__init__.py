"""Weights: `formats` reads files as arrays by name, `load` gives them to a network, `vgg16` converts ImageNet's."""
