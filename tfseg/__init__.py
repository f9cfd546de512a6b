"""Medical image segmentation in Keras that ends on a phone, scored as the file that ships."""

__version__ = "0.1.0"
