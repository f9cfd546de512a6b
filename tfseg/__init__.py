"""Medical image segmentation in Keras that ends on a phone, scored as the file that ships."""

import os

__version__ = "0.1.0"

# TensorFlow asks for this when it loads. By itself it takes oneDNN only on processors with AVX-512 VNNI or better; on
# others, grouped convolutions then have no gradient and no single operator: a training step of Lighter U-Net @16 at 128
# pixels takes minutes on an AMD EPYC with AVX2, and with oneDNN 3 s of one core for a batch of 8.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
