"""The live demo: a page that runs .tflite files in a browser, its server, its test video, and the way to a phone."""
