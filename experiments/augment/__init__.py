"""Augmentations against torchvision's."""
